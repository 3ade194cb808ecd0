"""Evaluation of one case: images to a line of scores, for evaluate.py and for the validation of a training run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.metrics.building import (
    CaseImages,
    DetectedImage,
    build_case,
    detect,
    detect_reference,
    scale_boxes,
)
from withanyone_core.metrics.cache import Embedder as Judge
from withanyone_core.metrics.matching import Matching, match
from withanyone_core.metrics.scoring import score_case

from .cases import Box, CaseFiles, Image, fingerprint, subset_of
from .images import Unreadable, content, decode_image
from .records import Line

LINE_FORMAT = "1"

# A score beside the judges': from the generated image, the ground truth or None, and the prompt.
Extra = Callable[[np.ndarray, np.ndarray | None, str], dict[str, float | None]]


@dataclass(frozen=True)
class EvaluationModels:
    """The models and settings of an evaluation.

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


def case_key(case: CaseFiles, models: EvaluationModels) -> str:
    """Changes with every image of the case, its prompt and boxes, and with the models and settings."""
    contents = {role: _bytes_or_reason(image) for role, image in _roles(case)}
    about = (LINE_FORMAT, models.fingerprint, models.use_boxes, models.legacy, case.fault)
    contents["about"] = repr((about, case.prompt, case.boxes, case.people)).encode()
    return fingerprint(contents)


def measure(case: CaseFiles, models: EvaluationModels, key: str) -> Line:
    """The line of one case of files: scores by judge, extras, and what could not be measured.

    A case that cannot be measured at all has no scores and says why in "fault".
    """
    line: Line = {"case": case.name, "key": key, "subset": case.subset, "people": case.people, "scores": {}}
    notes: list[str] = []
    try:
        images = _detected(case, models, notes)
    except Unreadable as error:
        return {**line, "fault": str(error)}
    found = measure_images(images, models, case.prompt)
    return {**line, **found} if "fault" in found else {**line, **found, "notes": notes}


def case_images(
    name: str,
    generated: np.ndarray,
    truth: np.ndarray | None,
    references: Sequence[np.ndarray],
    boxes: Sequence[Box],
    models: EvaluationModels,
) -> CaseImages:
    """A case of decoded images, RGB uint8 [H, W, 3], one reference and one box a person, ready for `measure_images`.

    boxes  fractions of the canvas or pixels of the ground truth; empty where unknown
    """
    views = [detect_reference(image, models.analysis) for image in references]
    whole = None if truth is None else detect(truth, models.analysis)
    return _with_boxes(name, detect(generated, models.analysis), whole, views, boxes, models.use_boxes, ())


def measure_images(images: CaseImages, models: EvaluationModels, prompt: str = "") -> dict[str, Any]:
    """Subset, scores by judge, extras and refusals of one case; "fault" where no judge could judge it."""
    refused: dict[str, str] = {}
    scores: dict[str, Any] = {}
    matching: Matching | None = None
    for judge in models.judges:
        try:
            case = build_case(images, judge.embed)
            if not models.legacy:
                # The first judge says who is whom, so that all of them judge the same faces.
                matching = matching or match(case)
            scores[judge.info.name] = score_case(case, models.legacy, matching).to_json()
        except ValueError as error:
            refused[judge.info.name] = str(error)
    people = len(images.references)
    found = {"case": images.name, "subset": subset_of(people), "people": people, "scores": scores}
    if not scores:
        return {**found, "fault": "no judge could judge it. " + " ".join(refused.values())}
    return {**found, "extras": _extras(images, models.extras, prompt), "refused": refused, "notes": []}


def _detected(case: CaseFiles, models: EvaluationModels, notes: list[str]) -> CaseImages:
    """Raises Unreadable where there is nothing to measure; a lost ground truth or reference is noted instead."""
    if case.fault:
        raise Unreadable(case.fault)
    if case.generated is None:
        raise Unreadable("the generated image is missing")
    if not case.references:
        raise Unreadable("there is no reference: nobody knows who should be in the image")
    generated = detect(_decoded(case.generated), models.analysis)
    truth = _detected_or_note(case.truth, models.analysis, notes, detect) if case.truth else None
    references = [
        _detected_or_note(image, models.analysis, notes, detect_reference) or DetectedImage.blank()
        for image in case.references
    ]
    return _with_boxes(case.name, generated, truth, references, case.boxes, models.use_boxes, notes)


def _decoded(image: Image) -> np.ndarray:
    return decode_image(content(image), image.label)


def _detected_or_note(
    image: Image,
    analysis: FaceAnalysis,
    notes: list[str],
    find: Callable[[np.ndarray, FaceAnalysis], DetectedImage],
) -> DetectedImage | None:
    try:
        return find(_decoded(image), analysis)
    except Unreadable as error:
        notes.append(f"Unreadable: {error}.")
        return None


def _with_boxes(
    name: str,
    generated: DetectedImage,
    truth: DetectedImage | None,
    references: Sequence[DetectedImage],
    boxes: Sequence[Box],
    use_boxes: bool,
    notes: Sequence[str],
) -> CaseImages:
    """The case with its boxes in pixels, where there is one a person."""
    fitting = boxes if use_boxes and len(boxes) == len(references) else ()
    notes = list(notes)
    if use_boxes and boxes and not fitting:
        notes.append(f"{len(boxes)} boxes for {len(references)} people: faces are told apart by likeness instead.")
    written_for = (truth or generated).image
    return CaseImages(
        name,
        generated,
        truth,
        tuple(references),
        scale_boxes(fitting, written_for, generated.image) if fitting else None,
        scale_boxes(fitting, written_for, truth.image) if fitting and truth else None,
        notes=tuple(notes),
    )


def _extras(images: CaseImages, extras: Sequence[Extra], prompt: str) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for extra in extras:
        scores |= extra(images.generated.image, images.truth_image, prompt)
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
