"""Cases of MultiID-Bench as they lie on disk, not yet opened: folders, or the published parquet.

Source of the layout: the benchmark's converter and evaluator (training.md 10.1 of the specification)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
GENERATED, TRUTH, META = "out", "ori", "meta.json"
REFERENCE = re.compile(r"ref_(\d+)")
Box = tuple[float, float, float, float]


class BadCase(ValueError):
    """A case that cannot be distinguished from another or whose description cannot be read; the message says why."""


@dataclass(frozen=True)
class Image:
    """An image that has not been opened yet: in a file, or its encoded bytes.

    label  what messages call it
    """

    label: str
    path: Path | None = None
    encoded: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        """The encoded image. Raises OSError where the file cannot be read."""
        return self.encoded if self.path is None else self.path.read_bytes()


@dataclass(frozen=True)
class CaseFiles:
    """One case: a generated image, the photo it is measured against, and one photo a person.

    name        unique among the cases
    generated   the image to be judged, or None where it is missing
    truth       the ground truth, or None
    references  one photo a person, in the order of the people
    prompt      what the image was asked to show; empty where unknown
    boxes       one box a person, as written: fractions of the canvas or pixels of the ground truth; empty where unknown
    fault       why the case cannot be measured at all, or empty
    """

    name: str
    generated: Image | None
    truth: Image | None
    references: tuple[Image, ...]
    prompt: str = ""
    boxes: tuple[Box, ...] = ()
    fault: str = ""

    @property
    def people(self) -> int:
        return len(self.references)

    @property
    def subset(self) -> str:
        """The benchmark scores one person, two people, and three or four people separately."""
        return subset_of(self.people)


def subset_of(people: int) -> str:
    """Name of the set that a case with so many references belongs to."""
    if people in (1, 2):
        return str(people)
    return "3-4" if people in (3, 4) else "other"


def folder_case(folder: Path, name: str) -> CaseFiles:
    """The case of one folder; what is wrong with it is noted in its `fault`, not raised."""
    name = folder.name if name == "." else name
    try:
        found = _images(folder)
        prompt, boxes = _described(folder / META)
    except BadCase as error:
        return CaseFiles(name, None, None, (), fault=str(error))
    numbered = [(int(match[1]), stem) for stem in found if (match := REFERENCE.fullmatch(stem))]
    by_number = dict(numbered)
    references = tuple(Image(found[by_number[number]].name, found[by_number[number]]) for number, _ in sorted(numbered))
    generated, truth = (Image(found[stem].name, found[stem]) if stem in found else None for stem in (GENERATED, TRUTH))
    return CaseFiles(name, generated, truth, references, prompt, boxes)


def boxes_of(values: Any, where: str) -> tuple[Box, ...]:
    """Boxes (x1, y1, x2, y2) from a list of lists or the JSON text of one. Raises BadCase for anything else."""
    if isinstance(values, str):
        try:
            values = json.loads(values or "[]")
        except json.JSONDecodeError as error:
            raise BadCase(f"the boxes in {where} are no JSON: {error}") from error
    if values is None:
        return ()
    if not (isinstance(values, Sequence) and all(_is_box(box) for box in values)):
        raise BadCase(f"the boxes in {where} are not a list of [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in values)


def named_image(folder: Path, name: str) -> Path | None:
    """The one image of that name in a folder (`name.jpg` and so on, or `name/out.jpg`), or None.

    A slash in the name is a folder or an underline, as programs differ. Raises BadCase where several fit.
    """
    names = dict.fromkeys((name, name.replace("/", "_")))
    stems = [folder / each for each in names] + [folder / each / GENERATED for each in names]
    files = [stem.parent / (stem.name + suffix) for stem in stems for suffix in IMAGE_SUFFIXES]
    inside = [file for file in files if file.is_file() and file.resolve().is_relative_to(folder.resolve())]
    if len(inside) > 1:
        raise BadCase(f"several images have its name: {', '.join(str(file.relative_to(folder)) for file in inside)}")
    return inside[0] if inside else None


def fingerprint(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over named contents, so that a changed, added or renamed one changes it."""
    digest = sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{len(name)}:{name}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def is_case(folder: Path) -> bool:
    """Whether a folder holds an image or a prompt of a case."""
    names = {path.stem for path in _image_files(folder)}
    return bool(names & {GENERATED, TRUTH}) or (folder / META).is_file()


def _image_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _images(folder: Path) -> dict[str, Path]:
    """Image files by stem; a stem or a reference's number written twice is refused."""
    found: dict[str, Path] = {}
    seen: dict[str, Path] = {}
    for path in _image_files(folder):
        reference = REFERENCE.fullmatch(path.stem)
        meaning = f"ref_{int(reference[1])}" if reference else path.stem
        if meaning in seen:
            raise BadCase(f"{seen[meaning].name} and {path.name} are both {meaning}; keep one of them")
        seen[meaning] = found[path.stem] = path
    return found


def _described(meta: Path) -> tuple[str, tuple[Box, ...]]:
    """Prompt and boxes of a meta.json; nothing where there is none."""
    if not meta.is_file():
        return "", ()
    try:
        values = json.loads(meta.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadCase(f"{META} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadCase(f"{META} holds {type(values).__name__}; expected an object with a prompt")
    prompt = values.get("prompt", values.get("caption_en", ""))
    return str(prompt), boxes_of(values.get("bboxes", values.get("boxes")), META)


def _is_box(box: Any) -> bool:
    if not (isinstance(box, Sequence) and not isinstance(box, str) and len(box) == 4):
        return False
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in box):
        return False
    return box[0] < box[2] and box[1] < box[3]
