"""Where people stand: boxes and masks on the canvas, and faces placed in them."""

from dataclasses import dataclass

from torch import Tensor

from .identity import Identity


@dataclass(frozen=True)
class Box:
    """A rectangle in fractions of the canvas: (x1, y1) top left, (x2, y2) bottom right, full float precision."""

    x1: float
    y1: float
    x2: float
    y2: float

    @classmethod
    def from_px(cls, x1: float, y1: float, x2: float, y2: float, width_px: int, height_px: int) -> "Box":
        return cls(x1 / width_px, y1 / height_px, x2 / width_px, y2 / height_px)

    def to_px(self, width_px: int, height_px: int) -> tuple[float, float, float, float]:
        """Pixels of a canvas, rounded to a thousandth so that a box typed in pixels comes back as it was typed."""
        sizes = (width_px, height_px, width_px, height_px)
        return tuple(round(value * size, 3) for value, size in zip(self.as_tuple(), sizes, strict=True))

    def as_tuple(self) -> tuple[float, float, float, float]:
        return self.x1, self.y1, self.x2, self.y2


@dataclass(frozen=True, eq=False)
class Mask:
    """A painted region of any shape. `coverage` is float [height, width] in 0..1 and spans the whole canvas."""

    coverage: Tensor


Region = Box | Mask


@dataclass(frozen=True)
class Layout:
    """Numbered places for people (box 1 is `boxes[0]`) on a canvas of the size they were made for."""

    boxes: tuple[Box, ...]
    width_px: int
    height_px: int


@dataclass(frozen=True, eq=False)
class PlacedFace:
    """A person in a place.

    weight      scales this person's values in both branches; 0 takes the person out of the softmax altogether
    box_number  the box of the layout it stands in (from 1), None for a painted mask
    """

    identity: Identity
    region: Region
    weight: float = 1.0
    box_number: int | None = None
