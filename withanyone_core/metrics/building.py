"""Case builder: images, ground truth, references and boxes to the case that a judge scores.

The one road from images to scores: decoded images, `detect`, `build_case` once a judge, `scoring.score_case`. Nothing
is encoded or written on the way, and each image is searched for faces once however many judges there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..canvas import BoxPx
from ..faces.face_analysis import FaceAnalysis
from ..identity import Face
from .case import Case, FaceEmbeddings

# A judge's embeddings [faces, d] of the faces of an RGB image [H, W, 3] uint8.
Embed = Callable[[np.ndarray, Sequence[Face]], np.ndarray]
# The benchmark looks for a reference's face after padding it so far, which finds faces that fill their image.
REFERENCE_PADDING = 1.5


@dataclass(frozen=True, eq=False)
class DetectedImage:
    """An RGB image [H, W, 3] uint8 and the faces found in it, by descending detection score."""

    image: np.ndarray
    faces: tuple[Face, ...]

    @classmethod
    def blank(cls) -> "DetectedImage":
        """In place of an image that cannot be read: one pixel, no face."""
        return cls(np.zeros((1, 1, 3), np.uint8), ())


@dataclass(frozen=True, eq=False)
class CaseImages:
    """One case before a judge has seen it; fields as in `Case`.

    Images are detected ones, or known embeddings where no image is there (an Identity's reference).
    """

    name: str
    generated: DetectedImage
    truth: DetectedImage | FaceEmbeddings | None
    references: tuple[DetectedImage | FaceEmbeddings, ...]
    boxes_px: tuple[BoxPx, ...] | None = None
    truth_boxes_px: tuple[BoxPx, ...] | None = None
    people: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def truth_image(self) -> np.ndarray | None:
        """The ground truth's pixels, None where there are none."""
        return self.truth.image if isinstance(self.truth, DetectedImage) else None


def detect(image: np.ndarray, analysis: FaceAnalysis) -> DetectedImage:
    """The faces of an RGB image [H, W, 3] uint8."""
    return DetectedImage(image, tuple(analysis.faces(image)))


def detect_reference(image: np.ndarray, analysis: FaceAnalysis) -> DetectedImage:
    """The faces of a reference photo, padded as the benchmark pads it."""
    return detect(pad_to_square(image, REFERENCE_PADDING), analysis)


def build_case(images: CaseImages, embed: Embed | None = None, width: int = 512) -> Case:
    """The case as one judge sees it. Raises ValueError as `Case`, and as the judge.

    embed  of the judge; None takes the embeddings that the faces were detected with
    width  length of an embedding where an image shows no face to tell it and there is no `embed`
    """
    return Case(
        name=images.name,
        generated=_embedded(images.generated, embed, width),
        truth=None if images.truth is None else _embedded(images.truth, embed, width),
        references=tuple(_embedded(reference, embed, width) for reference in images.references),
        boxes_px=images.boxes_px,
        truth_boxes_px=images.truth_boxes_px,
        people=images.people,
        notes=images.notes,
    )


def scale_boxes(boxes: Sequence[BoxPx], written_for: np.ndarray, target: np.ndarray) -> tuple[BoxPx, ...]:
    """Boxes in pixels of the image `target`, from fractions of the canvas or pixels of the image `written_for`."""
    # Boxes come in either unit; a face at most one pixel large is none, so numbers up to 1 can only be fractions.
    is_fraction = max(value for box in boxes for value in box) <= 1
    height, width = (1, 1) if is_fraction else written_for.shape[:2]
    x_factor, y_factor = target.shape[1] / width, target.shape[0] / height
    return tuple((x1 * x_factor, y1 * y_factor, x2 * x_factor, y2 * y_factor) for x1, y1, x2, y2 in boxes)


def pad_to_square(photo: np.ndarray, factor: float) -> np.ndarray:
    """The photo [H, W, 3] in the middle of a black square, `factor` times as long as its longer side."""
    height, width = photo.shape[:2]
    side = round(max(height, width) * factor)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = photo
    return square


def _embedded(source: DetectedImage | FaceEmbeddings, embed: Embed | None, width: int) -> FaceEmbeddings:
    if isinstance(source, FaceEmbeddings):
        return source
    return FaceEmbeddings.of(source.faces, None if embed is None else embed(source.image, source.faces), width)
