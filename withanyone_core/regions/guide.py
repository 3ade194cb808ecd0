"""A layout taken from the faces of a guide image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..canvas import BoxPx
from ..faces.selection import area_px, left_to_right
from ..identity import Face
from ..tolerance import SLACK
from .layout import Box, Layout

ORDERS = ("left to right", "largest first", "best score")
CROP, STRETCH = "crop to fill", "stretch"
FITS = (CROP, STRETCH)


@dataclass(frozen=True)
class Fit:
    """How a guide image lies on the canvas: its fraction (x, y) lands on fraction scale * (x, y) + shift.

    "stretch" pulls the image to the canvas; "crop to fill" keeps its proportions and cuts both sides, or top and
    bottom, equally.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]

    @classmethod
    def of(cls, rule: str, guide_px: tuple[int, int], canvas_px: tuple[int, int]) -> "Fit":
        """Of an image (width, height) on a canvas (width, height) by a rule of FITS; ValueError for another rule."""
        if rule == STRETCH:
            return cls((1.0, 1.0), (0.0, 0.0))
        if rule != CROP:
            raise ValueError(f"The fit is {rule!r}; expected one of {', '.join(FITS)}.")
        # The side with the larger ratio fills the canvas (scale 1); the other sticks out and is cut.
        ratios = [canvas / guide for canvas, guide in zip(canvas_px, guide_px, strict=True)]
        x, y = (max(ratios) / ratio for ratio in ratios)
        return cls((x, y), ((1.0 - x) / 2.0, (1.0 - y) / 2.0))

    def box(self, box_px: BoxPx, guide_px: tuple[int, int]) -> Box:
        """A box in pixels of the guide image (width, height) on the canvas; it may lie outside."""
        # Doubled: width and height once for each of the box's two corners.
        edges = zip(box_px, guide_px * 2, self.scale * 2, self.shift * 2, strict=True)
        return Box(*(scale * edge / side + shift for edge, side, scale, shift in edges))

    def image(self, guide: np.ndarray, canvas_px: tuple[int, int]) -> np.ndarray:
        """The part of the guide image [H, W, 3] uint8 that lies on the canvas, in the size of the canvas."""
        height_px, width_px = guide.shape[:2]
        # The inverse of `box`: where fractions 0 and 1 of the canvas lie, in pixels of the guide image.
        seen = [
            (-shift / scale * side, (1.0 - shift) / scale * side)
            for scale, shift, side in zip(self.scale, self.shift, (width_px, height_px), strict=True)
        ]
        (left, right), (top, bottom) = seen
        # Pillow's `box` takes fractions of a pixel, so the image lies under the boxes exactly.
        resized = Image.fromarray(guide).resize(canvas_px, Image.Resampling.BICUBIC, box=(left, top, right, bottom))
        return np.asarray(resized)


@dataclass(frozen=True)
class GuideLayout:
    """A layout and what it could not keep.

    remarks  a sentence for every face that is cut or lies outside the canvas
    """

    layout: Layout
    remarks: tuple[str, ...]


def layout_from_faces(
    faces: Sequence[Face],
    guide_px: tuple[int, int],
    canvas_px: tuple[int, int],
    order: str,
    max_people: int,
    fit: Fit,
    face_model: str = "",
) -> GuideLayout:
    """A box for each face (given by descending score) of a guide image, with the face's ArcFace embedding.

    `max_people` keeps the first so many of the order, 0 all. A face whose middle lies outside the canvas is left out
    and one that is partly outside clamped; both are remarked. Nothing is drawn by chance.
    Raises ValueError for an unknown order, a negative number, and where no face is left.
    """
    if max_people < 0:
        raise ValueError(f"max_people is {max_people}; expected 0 (everybody) or more.")
    boxes = {index: fit.box(faces[index].box_px, guide_px) for index in _in_order(faces, order)}
    inside = [index for index, box in boxes.items() if _middle_is_inside(box)]
    if not inside:
        raise ValueError(
            f"All {len(faces)} faces of the guide image lie outside the {canvas_px[0]}x{canvas_px[1]} canvas after "
            f'"{CROP}". Choose "{STRETCH}", or a canvas with the proportions of the image '
            f"({guide_px[0]}x{guide_px[1]})."
        )
    # 0 keeps everybody: a slice to None has no end.
    kept = inside[: max_people or None]
    remarks = [
        f"The face at {_place(faces[index])} of the guide image lies outside the canvas and is left out."
        for index in boxes
        if index not in inside
    ]
    remarks += [
        f"Box {number} is cut off at the edge of the canvas."
        for number, index in enumerate(kept, start=1)
        if boxes[index] != boxes[index].clamped()
    ]
    layout = Layout(
        boxes=tuple(boxes[index].clamped() for index in kept),
        width_px=canvas_px[0],
        height_px=canvas_px[1],
        # For Place Face, which can find a person's box by them.
        embeddings=torch.from_numpy(np.stack([faces[index].embedding for index in kept]).astype(np.float32)),
        face_model=face_model,
    )
    return GuideLayout(layout, tuple(remarks))


def _in_order(faces: Sequence[Face], order: str) -> list[int]:
    if order == "left to right":
        return left_to_right(faces)
    if order == "largest first":
        return sorted(range(len(faces)), key=lambda index: -area_px(faces[index]))
    if order == "best score":
        return sorted(range(len(faces)), key=lambda index: -faces[index].score)
    raise ValueError(f"The order is {order!r}; expected one of {', '.join(ORDERS)}.")


def _middle_is_inside(box: Box) -> bool:
    # low + high is twice the middle, so the canvas reaches from 0 to 2; a middle on its very edge is outside.
    return all(SLACK < low + high < 2.0 - SLACK for low, high in ((box.x1, box.x2), (box.y1, box.y2)))


def _place(face: Face) -> str:
    return ", ".join(f"{edge:.0f}" for edge in face.box_px)
