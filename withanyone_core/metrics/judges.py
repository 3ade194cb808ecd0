"""Recognizers as judges: an ONNX file, and a small JSON card that says what input it wants."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..faces.alignment import ARCFACE, Template, aligned_face, are_spread
from ..faces.dlib_analysis import DLIB
from ..files.digest import file_sha256
from ..files.first_bytes import no_onnx
from ..identity import Face
from .case import JudgeInfo
from .dlib_judge import DlibJudge

CARDS = Path(__file__).parent / "judge_cards"
TEMPLATES = {"arcface": ARCFACE}
COLOURS = ("rgb", "bgr")
LAYOUTS = ("nchw", "nhwc")
BATCH = 32  # crops: 32 of 160 x 160 are 10 MB as floats
CPU = "CPUExecutionProvider"
_REQUIRED = ("name", "onnx", "size_px", "colours", "mean", "std")


@dataclass(frozen=True)
class Card:
    """What a recognizer wants to be given; one JSON object with these keys.

    name, onnx    its name in reports, and its file, beside the card unless given as an absolute path
    size_px       side of the square crop
    colours       "rgb" or "bgr"
    mean, std     a level 0..255 is fed as (level - mean) / std; one number, or three in the order of `colours`
    template      "arcface", or {"points_px": five [x, y], "size_px": [width, height]}: see alignment.Template
    layout        "nchw" or "nhwc"
    vector        length of its embeddings, 0 where the file itself says so
    output        name of the graph's output that holds them; empty for the first
    trained_with  whether a training loss used it
    about         for people: where it is from, what of this is unverified
    """

    name: str
    onnx: str
    size_px: int
    colours: str
    mean: float | list[float]
    std: float | list[float]
    template: str | dict[str, Any] = "arcface"
    layout: str = "nchw"
    vector: int = 0
    output: str = ""
    trained_with: bool = False
    about: str = ""


class Judge:
    """A recognizer with its own correct input."""

    def __init__(self, card: Card, onnx: Path, providers: Sequence[str] = (CPU,)) -> None:
        """Raises FileNotFoundError without the ONNX file, ValueError where it and the card do not fit."""
        self.card = card
        self.file_name = card.onnx
        self.info = JudgeInfo(card.name, card.trained_with)
        self._onnx = onnx
        self._template = _template(card)
        self._session = _session(onnx, card, providers)
        self._input, self._fixed_batch = _checked_input(self._session, card, onnx)
        self._output, self.width = _checked_output(self._session, card, onnx)
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Changes with the recognizer's file and with everything on the card that changes its input."""
        if not self._fingerprint:
            # What it is called, and whether it took part in training, change no embedding.
            wanted = {key: value for key, value in asdict(self.card).items() if key not in ("name", "onnx", "about")}
            del wanted["trained_with"]
            text = file_sha256(self._onnx) + json.dumps(wanted, sort_keys=True)
            self._fingerprint = sha256(text.encode()).hexdigest()
        return self._fingerprint

    def embed(self, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Raw embeddings, float32 [faces, width], of the faces of an RGB photo [H, W, 3] uint8."""
        return self.embed_crops(self.crops(photo, [face.landmarks_px for face in faces]))

    def crops(self, photo: np.ndarray, landmarks_px: Sequence[np.ndarray]) -> np.ndarray:
        """The upright faces [faces, size_px, size_px, 3] RGB uint8 of a photo [H, W, 3]; landmarks [5, 2] a face.

        Raises ValueError for landmarks that are not finite or all in one point.
        """
        size = self.card.size_px
        crops = np.zeros((len(landmarks_px), size, size, 3), np.uint8)
        for number, points in enumerate(landmarks_px):
            if not are_spread(points):
                raise ValueError(
                    f"The landmarks of face {number + 1} are not finite or all in one point, so it cannot be turned "
                    "upright. Leave this face out, or use another detector."
                )
            crops[number] = aligned_face(photo, points, self._template, size)
        return crops

    def embed_crops(self, crops: np.ndarray) -> np.ndarray:
        """Raw embeddings, float32 [n, width], of crops [n, size_px, size_px, 3] RGB uint8 of any number of photos."""
        size = self._fixed_batch or BATCH
        found = [self._run(crops[start : start + size]) for start in range(0, len(crops), size)]
        return np.concatenate([np.zeros((0, self.width), np.float32), *found])

    def _run(self, crops: np.ndarray) -> np.ndarray:
        levels = crops[..., ::-1] if self.card.colours == "bgr" else crops
        mean, std = (np.array(each, np.float32) for each in (self.card.mean, self.card.std))
        batch = (levels.astype(np.float32) - mean) / std
        # A graph with a fixed batch takes no fewer, so the last crop is repeated; the copies' embeddings are cut off
        # below.
        if self._fixed_batch > len(batch):
            batch = np.concatenate([batch, np.repeat(batch[-1:], self._fixed_batch - len(batch), axis=0)])
        if self.card.layout == "nchw":
            batch = batch.transpose(0, 3, 1, 2)
        dtype = np.float16 if self._input.type == "tensor(float16)" else np.float32
        (embeddings,) = self._session.run([self._output], {self._input.name: np.ascontiguousarray(batch, dtype=dtype)})
        embeddings = np.asarray(embeddings, dtype=np.float32).reshape(len(batch), -1)[: len(crops)]
        if embeddings.shape[1] != self.width:
            raise ValueError(
                f"{self._onnx.name} gives {embeddings.shape[1]} numbers a face, and its card {self.card.name} says "
                f'{self.width}. Correct "vector" in the card, or use the file it is written for.'
            )
        return embeddings


def shipped_cards() -> dict[str, Path]:
    """The cards that come with the pack by file name without .json; their ONNX files do not come with it."""
    return {path.stem: path for path in sorted(CARDS.glob("*.json"))}


def is_dlib(path: Path) -> bool:
    """Whether a judge's name means dlib's recognizer, which pip installs, and no file."""
    return path.name == DLIB and not path.exists()


def load_judge(path: Path, onnx: Path | None = None, providers: Sequence[str] = (CPU,)) -> Judge | DlibJudge:
    """The judge of a card (.json), or of a recognizer's .onnx file that has one; "dlib" is that of pip's package.

    The card of an ONNX file is the .json of the same name beside it, else the shipped card that names this file.
    onnx       the recognizer's file, or a folder that holds it, where it is not beside the card
    providers  onnxruntime's execution providers

    Raises FileNotFoundError for a missing card or recognizer, ValueError for a card or recognizer that cannot be used.
    """
    path = Path(path)
    if is_dlib(path):
        return DlibJudge()
    if path.suffix == ".onnx":
        path, onnx = card_of(path), path
    card = read_card(path)
    if onnx is None:
        onnx = path.parent / card.onnx
    elif onnx.is_dir():
        onnx = onnx / Path(card.onnx).name
    return Judge(card, Path(onnx), providers)


def card_of(onnx: Path) -> Path:
    """The card of a recognizer's file. Raises FileNotFoundError where there is none."""
    beside = onnx.with_suffix(".json")
    if beside.is_file():
        return beside
    for shipped in shipped_cards().values():
        if read_card(shipped).onnx == onnx.name:
            return shipped
    known = ", ".join(read_card(shipped).onnx for shipped in shipped_cards().values())
    raise FileNotFoundError(
        f"Nothing says what input {onnx.name} wants. Put a card {beside.name} beside it ({', '.join(_REQUIRED)}), or "
        f"give the file one of the names that are known: {known}."
    )


def judge_of(analysis: Any) -> JudgeInfo:
    """Who a face analysis is as a judge: by the name it has itself, or by that of its recognizer's file."""
    known = getattr(analysis, "judge_name", "")
    if known:
        return JudgeInfo(known)
    name = getattr(analysis, "model_name", "")
    file = name.rsplit("/", 1)[-1]
    for path in shipped_cards().values():
        card = read_card(path)
        if card.onnx == file:
            return JudgeInfo(card.name, card.trained_with)
    return JudgeInfo(name or "a recognizer without a name")


def read_card(path: Path) -> Card:
    """Raises FileNotFoundError, or ValueError naming the file and the key that is wrong."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no judge's card {path}. Shipped ones: {', '.join(shipped_cards())}.")
    try:
        # Editors on Windows write a byte order mark first.
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"The judge's card {path.name} is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"The judge's card {path.name} is {type(values).__name__}; expected an object.")
    known = [field.name for field in fields(Card)]
    unknown = [key for key in values if key not in known]
    missing = [key for key in _REQUIRED if key not in values]
    if unknown or missing:
        wrong = f"has the unknown key {unknown[0]!r}" if unknown else f"lacks {missing[0]!r}"
        raise ValueError(f"The judge's card {path.name} {wrong}. It may have {', '.join(known)}.")
    card = Card(**values)
    _check_values(card, path.name)
    return card


def _check_values(card: Card, source: str) -> None:
    wrong = {
        "name": not (isinstance(card.name, str) and card.name),
        "onnx": not (isinstance(card.onnx, str) and card.onnx),
        # By type and not by isinstance: JSON's true would pass for the int 1.
        "size_px": type(card.size_px) is not int or not 16 <= card.size_px <= 1024,
        "colours": card.colours not in COLOURS,
        "layout": card.layout not in LAYOUTS,
        "mean": not _is_levels(card.mean),
        "std": not _is_levels(card.std) or 0 in np.atleast_1d(card.std),
        "vector": type(card.vector) is not int or card.vector < 0,
        "output": not isinstance(card.output, str),
        "trained_with": not isinstance(card.trained_with, bool),
    }
    expected = {
        "size_px": "16 to 1024",
        "colours": " or ".join(COLOURS),
        "layout": " or ".join(LAYOUTS),
        "mean": "one or three numbers",
        "std": "one or three numbers, none of them 0",
        "vector": "a number of numbers",
        "trained_with": "true or false",
    }
    for key in (key for key, is_wrong in wrong.items() if is_wrong):
        raise ValueError(
            f"The judge's card {source} has {key} = {getattr(card, key)!r}; expected {expected.get(key, 'a text')}."
        )
    _template(card)


def _is_levels(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return len(numbers) in (1, 3) and all(type(number) in (int, float) and np.isfinite(number) for number in numbers)


def _template(card: Card) -> Template:
    if isinstance(card.template, str) and card.template in TEMPLATES:
        return TEMPLATES[card.template]
    own = {} if isinstance(card.template, str) else card.template
    try:
        points = np.array(own["points_px"], dtype=np.float64)
        width, height = (float(side) for side in own["size_px"])
    except (TypeError, KeyError, ValueError, IndexError):
        points, width, height = np.zeros(0), 0.0, 0.0
    if points.shape != (5, 2) or not are_spread(points) or not (width > 0 and height > 0):
        raise ValueError(
            f"The card of {card.name} has the template {card.template!r}; expected {', '.join(TEMPLATES)}, or "
            '{"points_px": five [x, y], "size_px": [width, height]}.'
        )
    return Template(points, width, height)


def _session(onnx: Path, card: Card, providers: Sequence[str]) -> Any:
    if not onnx.is_file():
        raise FileNotFoundError(
            f"The recognizer {onnx} of the judge {card.name} is missing. {card.about or 'Put its ONNX file there.'}"
        )
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        raise RuntimeError(
            f"Judges need onnxruntime, which cannot be used: {error}. Run `python -m pip install onnxruntime`."
        ) from error
    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:
        raise RuntimeError(
            f"The installed onnxruntime has no {missing[0]}; it offers "
            f"{', '.join(onnxruntime.get_available_providers())}."
        )
    try:
        return onnxruntime.InferenceSession(str(onnx), providers=list(providers))
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail, failures.NoSuchFile) as error:
        if reason := no_onnx(onnx):
            raise ValueError(f"{onnx} {reason}") from error
        raise ValueError(
            f"{onnx} ({onnx.stat().st_size} bytes) is not a complete ONNX file. Download or export it again. "
            f"onnxruntime says: {error}"
        ) from error


def _checked_input(session: Any, card: Card, onnx: Path) -> tuple[Any, int]:
    """The graph's input and its batch size, 0 where any will do."""
    (first, *others) = session.get_inputs()
    wanted = [3, card.size_px, card.size_px] if card.layout == "nchw" else [card.size_px, card.size_px, 3]
    # A dimension without a number is free, and takes what the card says.
    free = [
        side if isinstance(side, int) and side > 0 else expected
        for side, expected in zip(first.shape[1:], wanted, strict=False)
    ]
    if others or len(first.shape) != 4 or free != wanted or first.type not in ("tensor(float)", "tensor(float16)"):
        raise ValueError(
            f"{onnx.name} takes {first.type} {first.shape}{f' and {len(others)} more inputs' if others else ''}; its "
            f"card {card.name} gives one [batch, {', '.join(map(str, wanted))}] of floats. Use the recognizer the card "
            "is written for, or correct size_px and layout."
        )
    return first, first.shape[0] if isinstance(first.shape[0], int) and first.shape[0] > 0 else 0


def _checked_output(session: Any, card: Card, onnx: Path) -> tuple[str, int]:
    """The name of the output with the embeddings, and their length."""
    shapes = {output.name: output.shape for output in session.get_outputs()}
    name = card.output or next(iter(shapes))
    if name not in shapes:
        raise ValueError(f"{onnx.name} has no output {name!r}; it has {', '.join(shapes)}.")
    sizes = shapes[name][1:]
    known = bool(sizes) and all(isinstance(size, int) and size > 0 for size in sizes)
    width = int(np.prod(sizes)) if known else card.vector
    if width < 2 or (card.vector and width != card.vector):
        raise ValueError(
            f"{onnx.name} gives {shapes[name]} as {name!r}, and its card {card.name} says {card.vector} numbers a "
            'face. Correct "vector" or "output" in the card, or use the file it is written for.'
        )
    return name, width
