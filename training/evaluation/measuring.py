"""One case of images to one line of numbers: each image is opened, searched and embedded once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from withanyone_core.canvas import BoxPx
from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.identity import Face
from withanyone_core.metrics.cache import Embedder as Judge
from withanyone_core.metrics.case import Case, FaceVectors
from withanyone_core.metrics.matching import Matching, match
from withanyone_core.metrics.scoring import score_case

from .cases import Box, CaseFiles, Image, fingerprint
from .images import Unreadable, content, decoded
from .records import Line

LINE_FORMAT = "1"
# The benchmark looks for a reference's face after padding it so far, which finds faces that fill their image.
REFERENCE_PADDING = 1.5


# A score beside the judges': from the generated image, the ground truth or None, and the prompt.
Extra = Callable[[np.ndarray, np.ndarray | None, str], dict[str, float | None]]


@dataclass(frozen=True)
class Instruments:
    """What measures.

    fingerprint  of every model and setting; another one means that nothing measured before counts
    use_boxes    whether faces are told apart by the boxes of the case where it has them
    legacy       the released evaluator's arithmetic
    """

    analysis: FaceAnalysis
    judges: tuple[Judge, ...]
    fingerprint: str
    extras: tuple[Extra, ...] = field(default=())
    use_boxes: bool = True
    legacy: bool = False


@dataclass(frozen=True, eq=False)
class _Seen:
    """An image and the faces found in it."""

    image: np.ndarray
    faces: tuple[Face, ...]

    @classmethod
    def nothing(cls) -> "_Seen":
        return cls(np.zeros((1, 1, 3), np.uint8), ())


@dataclass(frozen=True, eq=False)
class _Views:
    """All images of a case."""

    generated: _Seen
    truth: _Seen | None
    references: tuple[_Seen, ...]
    notes: tuple[str, ...]


def case_key(case: CaseFiles, instruments: Instruments) -> str:
    """Changes with every image of the case, its prompt and boxes, and with the instruments."""
    contents = {role: _bytes_or_reason(image) for role, image in _roles(case)}
    about = (LINE_FORMAT, instruments.fingerprint, instruments.use_boxes, instruments.legacy, case.fault)
    contents["about"] = repr((about, case.prompt, case.boxes, case.people)).encode()
    return fingerprint(contents)


def measure(case: CaseFiles, instruments: Instruments, key: str) -> Line:
    """The line of one case: scores by judge, extras, and what could not be measured, in words.

    A case that cannot be measured at all has no scores and says why in "fault".
    """
    line: Line = {"case": case.name, "key": key, "subset": case.subset, "people": case.people, "scores": {}}
    try:
        views = _views(case, instruments.analysis)
    except Unreadable as error:
        return {**line, "fault": str(error)}
    refused: dict[str, str] = {}
    matching: Matching | None = None
    for judge in instruments.judges:
        try:
            seen = _judged(case, views, judge, instruments.use_boxes)
            if not instruments.legacy:
                # The first judge says who is whom, so that all of them judge the same faces.
                matching = matching or match(seen)
            line["scores"][judge.info.name] = score_case(seen, instruments.legacy, matching).to_json()
        except ValueError as error:
            refused[judge.info.name] = str(error)
    if not line["scores"]:
        return {**line, "fault": "no judge could judge it. " + " ".join(refused.values())}
    line["extras"] = _extras(case, views, instruments.extras)
    return {**line, "notes": list(views.notes), "refused": refused}


def _views(case: CaseFiles, analysis: FaceAnalysis) -> _Views:
    """Raises Unreadable where there is nothing to measure; a lost ground truth or reference is noted instead."""
    if case.fault:
        raise Unreadable(case.fault)
    if case.generated is None:
        raise Unreadable("the generated image is missing")
    if not case.references:
        raise Unreadable("there is no reference: nobody knows who should be in the image")
    generated = _seen(case.generated, analysis)
    notes: list[str] = []
    truth = _seen_or_note(case.truth, analysis, notes) if case.truth else None
    references = tuple(
        _seen_or_note(image, analysis, notes, REFERENCE_PADDING) or _Seen.nothing() for image in case.references
    )
    return _Views(generated, truth, references, tuple(notes))


def _seen(image: Image, analysis: FaceAnalysis, padding: float = 0.0) -> _Seen:
    photo = decoded(content(image), image.label)
    if padding:
        photo = padded(photo, padding)
    return _Seen(photo, tuple(analysis.faces(photo)))


def _seen_or_note(image: Image, analysis: FaceAnalysis, notes: list[str], padding: float = 0.0) -> _Seen | None:
    try:
        return _seen(image, analysis, padding)
    except Unreadable as error:
        notes.append(f"Unreadable: {error}.")
        return None


def padded(photo: np.ndarray, factor: float) -> np.ndarray:
    """The photo [H, W, 3] in the middle of a black square, `factor` times as long as its longer side."""
    height, width = photo.shape[:2]
    side = round(max(height, width) * factor)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = photo
    return square


def _judged(case: CaseFiles, views: _Views, judge: Judge, use_boxes: bool) -> Case:
    """The case as one judge sees it."""
    boxes = case.boxes if use_boxes and len(case.boxes) == case.people else ()
    notes = list(views.notes)
    if use_boxes and case.boxes and not boxes:
        notes.append(f"{len(case.boxes)} boxes for {case.people} people: faces are told apart by likeness instead.")
    truth_size = views.truth.image.shape if views.truth else views.generated.image.shape
    return Case(
        name=case.name,
        generated=_vectors(views.generated, judge),
        truth=_vectors(views.truth, judge) if views.truth else None,
        references=tuple(_vectors(seen, judge) for seen in views.references),
        boxes_px=_boxes_px(boxes, truth_size, views.generated.image.shape) if boxes else None,
        truth_boxes_px=_boxes_px(boxes, truth_size, truth_size) if boxes and views.truth else None,
        notes=tuple(notes),
    )


def _vectors(seen: _Seen, judge: Judge) -> FaceVectors:
    return FaceVectors.of(seen.faces, judge.embed(seen.image, seen.faces))


def _boxes_px(boxes: Sequence[Box], written_for: Sequence[int], wanted: Sequence[int]) -> tuple[BoxPx, ...]:
    """Boxes in pixels of an image of the shape `wanted`, from fractions or pixels of one of `written_for`."""
    is_fraction = max(value for box in boxes for value in box) <= 1
    height, width = (1, 1) if is_fraction else written_for[:2]
    scale = (wanted[1] / width, wanted[0] / height) * 2
    return tuple(tuple(value * factor for value, factor in zip(box, scale, strict=True)) for box in boxes)


def _extras(case: CaseFiles, views: _Views, extras: Sequence[Extra]) -> dict[str, float | None]:
    truth = views.truth.image if views.truth else None
    scores: dict[str, float | None] = {}
    for extra in extras:
        scores |= extra(views.generated.image, truth, case.prompt)
    return {name: value if value is not None and isfinite(value) else None for name, value in scores.items()}


def _roles(case: CaseFiles) -> Iterator[tuple[str, Image | None]]:
    yield "generated", case.generated
    yield "truth", case.truth
    for number, image in enumerate(case.references):
        yield f"reference {number}", image


def _bytes_or_reason(image: Image | None) -> bytes:
    if image is None:
        return b""
    try:
        return content(image)
    except Unreadable as error:
        return str(error).encode()
