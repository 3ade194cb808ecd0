"""A blind comparison of two result folders: one HTML page that is opened from disk, and the key that stays here."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .cases import CaseFiles, Image, fingerprint
from .images import Unreadable, data_uri
from .records import write_json, write_text

LOGGER = logging.getLogger("withanyone")

TEMPLATE = Path(__file__).with_name("comparison.html")
PAGE, KEY = "comparison.html", "comparison_key.json"
IMAGE_PX, REFERENCE_PX = 768, 256
# The first asks for what Sim(GT) measures, the second for what copy-paste measures.
QUESTIONS = {
    "likeness": "Which image is more like these people?",
    "copying": "Which image copies these photos less: other expressions, other light, other views?",
}


@dataclass(frozen=True)
class Key:
    """What the page does not know.

    page        ties choices to the page they were made on
    first       what the folder under test is called, "A" in reports
    second      the other one, "B"
    left        by case, which of the two stood on the left: "A" or "B"
    """

    page: str
    first: str
    second: str
    left: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Raises FileNotFoundError where there is none, ValueError where the file is something else."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: it was written beside the page, into the --out of --ab.")
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8-sig")))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not the key of a comparison page: {error}") from error


def write_comparison(
    first: Sequence[CaseFiles], second: Sequence[CaseFiles], names: tuple[str, str], folder: Path, seed: int
) -> tuple[Path, tuple[str, ...]]:
    """Writes the page and its key into `folder`; returns the page and a sentence for each case that was left out.

    Cases are paired by name, shuffled and put left or right by `seed`. Raises ValueError where no pair is left.
    """
    pairs, left_out, key = [], [], {}
    others = {case.name: case for case in second}
    for case in tqdm(first, desc="pages", unit="case", disable=None):
        try:
            a, b = _both(case, others.get(case.name))
            side = "A" if _is_a_left(case.name, seed) else "B"
            pairs.append(_pair(case, (a, b) if side == "A" else (b, a)))
            key[case.name] = side
        except Unreadable as error:
            left_out.append(f"{case.name}: {error}")
    if not pairs:
        raise ValueError("No case has an image in both folders. " + " ".join(f"{line}." for line in left_out[:5]))
    np.random.default_rng(seed).shuffle(pairs)
    page = fingerprint({str(number): json.dumps(pair).encode() for number, pair in enumerate(pairs)})[:16]
    questions = [{"name": name, "text": text} for name, text in QUESTIONS.items()]
    write_json(folder / KEY, asdict(Key(page, *names, key)))
    path = folder / PAGE
    write_text(path, _page({"page": page, "questions": questions, "pairs": pairs}))
    return path, tuple(left_out)


def _page(study: dict) -> str:
    # "<" is escaped so that no prompt can end the script element.
    return TEMPLATE.read_text(encoding="utf-8").replace("STUDY", json.dumps(study).replace("<", "\\u003c"), 1)


def _both(first: CaseFiles, second: CaseFiles | None) -> tuple[Image, Image]:
    if second is None:
        raise Unreadable("the other folder has no such case")
    return _image_of(first, "the first"), _image_of(second, "the other")


def _image_of(case: CaseFiles, which: str) -> Image:
    if case.generated is None:
        raise Unreadable(f"{which} folder has no image of it{': ' + case.fault if case.fault else ''}")
    return case.generated


def _pair(case: CaseFiles, sides: tuple[Image, Image]) -> dict:
    left, right = (data_uri(image, IMAGE_PX) for image in sides)
    references = []
    for image in case.references:
        try:
            references.append(data_uri(image, REFERENCE_PX))
        except Unreadable as error:
            LOGGER.warning("%s: %s; the page shows the other photos.", case.name, error)
    return {"case": case.name, "prompt": case.prompt, "references": references, "left": left, "right": right}


def _is_a_left(name: str, seed: int) -> bool:
    """A coin that depends on nothing but seed and name, so that other cases do not turn it."""
    return sha256(f"{seed}:{name}".encode()).digest()[0] % 2 == 0
