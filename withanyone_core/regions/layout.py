"""Where people stand: boxes and masks on the canvas, and faces placed in them."""

import logging
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..canvas import BoxPx, check_canvas
from ..identity import Identity
from ..timing import ALWAYS, Window
from ..tolerance import PLACES_PX, SLACK

LOGGER = logging.getLogger("withanyone")
ASPECT_TOLERANCE = 0.02


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

    def to_px(self, width_px: int, height_px: int) -> BoxPx:
        """Pixels of a canvas, rounded to a thousandth so that a box typed in pixels comes back as it was typed."""
        return (
            round(self.x1 * width_px, PLACES_PX),
            round(self.y1 * height_px, PLACES_PX),
            round(self.x2 * width_px, PLACES_PX),
            round(self.y2 * height_px, PLACES_PX),
        )

    def as_tuple(self) -> tuple[float, float, float, float]:
        return self.x1, self.y1, self.x2, self.y2

    def clamped(self) -> "Box":
        """The part of the box inside the canvas."""
        return Box(*(min(max(value, 0.0), 1.0) for value in self.as_tuple()))


# Compared by identity: a tensor has no single truth value.
@dataclass(frozen=True, eq=False)
class Mask:
    """A mask: a region of any shape. `coverage` is float [height, width] in 0..1 and spans the whole canvas.

    ValueError for another rank, NaN or infinity, or a mask in which no pixel reaches 0.5.
    """

    coverage: Tensor

    def __post_init__(self) -> None:
        if self.coverage.ndim != 2:
            raise ValueError(
                f"The mask has the shape {list(self.coverage.shape)}; expected [height, width] or [1, height, width]. "
                "Connect a MASK, not an image or a latent."
            )
        if not torch.isfinite(self.coverage).all():
            raise ValueError("The mask contains NaN or infinite values; expected numbers from 0 to 1. Draw it again.")
        if not (self.coverage >= 0.5 - SLACK).any():
            raise ValueError(
                "The mask is empty: no pixel reaches 0.5, so it gives the person no place. "
                "Draw where the person should stand, or invert the mask."
            )

    @classmethod
    def from_batch(cls, mask: Tensor) -> "Mask":
        """One region from a ComfyUI MASK, [1, height, width] or [height, width]; ValueError for several masks."""
        if mask.ndim == 3 and mask.shape[0] != 1:
            raise ValueError(
                f"The mask batch holds {mask.shape[0]} masks, but a person stands in one; "
                "give each Place Face node one mask."
            )
        return cls((mask[0] if mask.ndim == 3 else mask).detach().float().cpu())


Region = Box | Mask


@dataclass(frozen=True)
class Layout:
    """Numbered places for people (box 1 is `boxes[0]`) on a canvas of the size they were made for.

    Every layout is sound: a box partly outside the canvas is clamped, with one warning for all of them.
    ValueError for a canvas under 16 x 16 pixels and for a box that is not finite, has no area or lies outside.

    embeddings  float32 [boxes, 512], the raw ArcFace embedding of the face each box was found by, or None
    face_model  the pack and recognizer that made them; empty where unknown
    """

    boxes: tuple[Box, ...]
    width_px: int
    height_px: int
    # Left out of comparisons because tensors have no single truth value: a layout is its boxes and its canvas.
    embeddings: Tensor | None = field(default=None, compare=False)
    face_model: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_canvas(self.width_px, self.height_px)
        if self.embeddings is not None and len(self.embeddings) != len(self.boxes):
            raise ValueError(f"{len(self.boxes)} boxes came with the face embeddings of {len(self.embeddings)}.")
        # Before clamping, which would turn a box outside the canvas into one without area.
        for number, box in enumerate(self.boxes, start=1):
            self._check(number, box)
        clamped = tuple(box.clamped() for box in self.boxes)
        changed = [n for n, (given, kept) in enumerate(zip(self.boxes, clamped, strict=True), 1) if given != kept]
        if changed:
            boxes = "; ".join(self._words(number, self.boxes[number - 1]) for number in changed)
            LOGGER.warning("Partly outside the %dx%d canvas and clamped: %s", self.width_px, self.height_px, boxes)
        # The only way to set a field of a frozen dataclass.
        object.__setattr__(self, "boxes", clamped)

    def _check(self, number: int, box: Box) -> None:
        x1, y1, x2, y2 = box.to_px(self.width_px, self.height_px)
        words = self._words(number, box)
        if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
            raise ValueError(f"{words}: all four must be finite numbers.")
        if x2 < x1 or y2 < y1:
            raise ValueError(
                f"{words}: it is inverted. Expected x1,y1,x2,y2 with the top left corner first: x1 < x2 and y1 < y2."
            )
        if x1 == x2 or y1 == y2:
            raise ValueError(f"{words}: it has no area. Expected x1 < x2 and y1 < y2.")
        if x2 <= 0 or y2 <= 0 or x1 >= self.width_px or y1 >= self.height_px:
            raise ValueError(
                f"{words}: it lies entirely outside the {self.width_px}x{self.height_px} canvas. "
                "Move it inside, or make the canvas larger."
            )

    def _words(self, number: int, box: Box) -> str:
        pixels = ", ".join(f"{value:.10g}" for value in box.to_px(self.width_px, self.height_px))
        fractions = ", ".join(f"{value:.6g}" for value in box.as_tuple())
        return f"Box {number} is {pixels} in pixels ({fractions} of the canvas)"


@dataclass(frozen=True, eq=False)
class PlacedFace:
    """A person in a place.

    weight      scales this person's values in both branches; 0 takes the person out of the softmax altogether
    box_number  the box of the layout it stands in (from 1), None for a mask
    layout      the layout that box belongs to, None for a mask
    window      the part of the denoising this person works in
    """

    identity: Identity
    region: Region
    weight: float = 1.0
    box_number: int | None = None
    layout: Layout | None = None
    window: Window = ALWAYS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"The weight of {self.identity.name} is {self.weight}; expected a number of 0 or more.")


def stretching(faces: Iterable[PlacedFace], width_px: int, height_px: int) -> str | None:
    """What is to be said where an image has other proportions than the layout of the faces; None where all is well."""
    # `place_in_box` refuses a second layout in one chain, so the first speaks for all.
    layout = next((face.layout for face in faces if face.layout is not None), None)
    if layout is None or abs(width_px * layout.height_px / (height_px * layout.width_px) - 1) <= ASPECT_TOLERANCE:
        return None
    return (
        f"{width_px} x {height_px} pixels, of other proportions than the layout "
        f"({layout.width_px} x {layout.height_px}); its boxes are stretched over"
    )


def parse_boxes(text: str, width_px: int, height_px: int) -> tuple[Box, ...]:
    """Boxes written as `x1,y1,x2,y2` with commas or spaces, one a line or separated by semicolons.

    Fractions of the canvas if no number of the whole text is above 1, else pixels of it. Nothing but white space and
    separators gives no boxes. ValueError naming the line that is anything else; whether a box is sensible is for
    Layout to say.
    """
    rows = [
        _four_numbers(part, line_number)
        for line_number, line in enumerate(text.splitlines(), start=1)
        for part in line.split(";")
        if part.strip()
    ]
    # Fractions that were computed may end a rounding error above 1.
    if all(value <= 1 + SLACK for row in rows for value in row):
        return tuple(Box(*row) for row in rows)
    return tuple(Box.from_px(*row, width_px, height_px) for row in rows)


def _four_numbers(part: str, line_number: int) -> tuple[float, float, float, float]:
    words = re.split(r"\s*,\s*|\s+", part.strip())
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ValueError(
            f"Line {line_number} of the boxes reads '{part.strip()}'; expected four numbers x1,y1,x2,y2, "
            "in pixels or all as fractions of the canvas, one box a line or separated by ';'."
        )
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def place_in_box(
    identity: Identity,
    layout: Layout,
    number: int = 0,
    weight: float = 1.0,
    earlier: Iterable[PlacedFace] = (),
    window: Window = ALWAYS,
) -> tuple[PlacedFace, ...]:
    """The earlier faces and this person in box `number` of the layout (from 1; 0 is the lowest free one).

    A box asked for by its number may be shared: both people are drawn into it, with a warning.
    ValueError if the earlier faces stand in another layout, or the box does not exist, or none is free.
    """
    earlier = tuple(earlier)
    taken = {face.box_number: face.identity.name for face in earlier if face.box_number is not None}
    if any(face.layout is not None and face.layout != layout for face in earlier):
        raise ValueError(
            f"{identity.name} is placed in another layout than the faces before it; "
            "connect the same Layout to every Place Face node of the chain."
        )
    number = number or _lowest_free(identity, layout, taken)
    if not 1 <= number <= len(layout.boxes):
        raise ValueError(
            f"Box {number} was asked for {identity.name}, but the layout has {_counted(layout)}; "
            "choose one of them, 0 for the next free one, or add a box to the layout."
        )
    if number in taken:
        LOGGER.warning("%s shares box %d with %s; their features will mix.", identity.name, number, taken[number])
    return *earlier, PlacedFace(identity, layout.boxes[number - 1], weight, number, layout, window)


def place_in_mask(
    identity: Identity,
    mask: Mask,
    weight: float = 1.0,
    earlier: Iterable[PlacedFace] = (),
    window: Window = ALWAYS,
) -> tuple[PlacedFace, ...]:
    """The earlier faces and this person in a mask; masks and boxes mix freely."""
    return *earlier, PlacedFace(identity, mask, weight, window=window)


def _lowest_free(identity: Identity, layout: Layout, taken: dict[int, str]) -> int:
    for number in range(1, len(layout.boxes) + 1):
        if number not in taken:
            return number
    raise ValueError(
        f"No box is free for {identity.name}: the layout has {_counted(layout)}, all taken "
        f"({', '.join(f'{number} by {taken[number]}' for number in sorted(taken))}). Add a box to the layout."
    )


def _counted(layout: Layout) -> str:
    count = len(layout.boxes)
    return f"{count} box" if count == 1 else f"{count} boxes (1 to {count})"
