"""Kontext face editing (the Ke adapter): the image to edit with its faces blurred, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ..canvas import BoxPx, WholeBoxPx, floor_to_tokens
from ..faces.crop import whole_pixels
from ..identity import Face
from .layout import Box, Layout

# The released face-edit program's blur, PIL's GaussianBlur on the cut-out box.
BLUR_RADIUS_PX = 15
# The released program leaves smaller faces sharp.
SMALLEST_FACE_PX = 100


@dataclass(frozen=True)
class FaceEdit:
    """What a face edit starts from.

    image  uint8 [height, width, 3], blurred faces, both sides multiples of 16
    layout   the faces' boxes on a canvas of that size
    sharp    numbers of the boxes (from 1) that were too small to be blurred
    """

    image: np.ndarray
    layout: Layout
    sharp: tuple[int, ...]


def prepare_edit(
    photo: np.ndarray, faces: Sequence[Face], smallest_px: int = SMALLEST_FACE_PX, label: str = "The image"
) -> FaceEdit:
    """Blurs the given faces of a photo, uint8 [H, W, 3], and brings it to the size that is generated.

    As released: whole pixels of the detector's boxes, blurred at full size, then one LANCZOS resize without cropping.
    One face is enough (the released program needs two). Raises ValueError without any face.
    """
    height_px, width_px = photo.shape[:2]
    if not faces:
        raise ValueError(f"{label} ({width_px} x {height_px}) shows no face to edit. Use another one.")
    boxes_px = [_inside(face.box_px, width_px, height_px) for face in faces]
    size = floor_to_tokens(width_px, height_px)
    blurred = Image.fromarray(blur_boxes(photo, boxes_px, smallest_px))
    # The resize below has no crop, so fractions of the photo are fractions of the canvas.
    layout = Layout(tuple(Box.from_px(*box, width_px, height_px) for box in boxes_px), *size)
    sharp = tuple(number for number, box in enumerate(boxes_px, 1) if not _is_large(box, smallest_px))
    return FaceEdit(np.asarray(blurred.resize(size, Image.Resampling.LANCZOS)), layout, sharp)


def blur_boxes(photo: np.ndarray, boxes_px: Sequence[WholeBoxPx], smallest_px: int = SMALLEST_FACE_PX) -> np.ndarray:
    """The photo with every box of at least `smallest_px` on both sides blurred by itself, so that nothing bleeds in."""
    image = Image.fromarray(photo)
    for box in boxes_px:
        if _is_large(box, smallest_px):
            image.paste(image.crop(box).filter(ImageFilter.GaussianBlur(BLUR_RADIUS_PX)), box[:2])
    return np.asarray(image)


def _is_large(box: WholeBoxPx, smallest_px: int) -> bool:
    x1, y1, x2, y2 = box
    return x2 - x1 >= smallest_px and y2 - y1 >= smallest_px


def _inside(box_px: BoxPx, width_px: int, height_px: int) -> WholeBoxPx:
    x1, y1, x2, y2 = whole_pixels(box_px)
    return max(x1, 0), max(y1, 0), min(x2, width_px), min(y2, height_px)
