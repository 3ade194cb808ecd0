"""Boxes as other nodes pass them on, turned into boxes of a canvas.

* ComfyUI: a dict x, y, width, height, a list of them, or a list of such lists, one a frame
* KJNodes and detectors: four numbers, a list of such fours, or a list a frame; tuples, lists, arrays or tensors
* Impact Pack's SEGS: ((height, width), [segments with a bbox of x1, y1, x2, y2]), in pixels of that image
* text: as `layout.parse_boxes` reads it
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..tolerance import SLACK
from .layout import Box, parse_boxes

LOGGER = logging.getLogger("withanyone")
SIZED, CORNERS = "x, y, width, height", "x1, y1, x2, y2"
NUMBERS = (SIZED, CORNERS)

Four = tuple[float, float, float, float]


def boxes_from(given: Any, width_px: int, height_px: int, numbers: str = SIZED) -> tuple[Box, ...]:
    """The boxes of any of the forms above, in their order.

    Pixels of the canvas, or fractions of it where no number is above 1; SEGS bring the size of their own image.
    `numbers` says what bare fours mean. Of several frames the first is taken, with a warning. Whether a box is sensible
    is for Layout to say. Raises ValueError where there is no box and for anything else, naming what came.
    """
    if numbers not in NUMBERS:
        raise ValueError(f"The order of the numbers is {numbers!r}; expected one of {'; '.join(NUMBERS)}.")
    if isinstance(given, str):
        boxes = parse_boxes(given, width_px, height_px)
    # Before the general lists: a SEGS is a pair of lists and would be read as frames.
    elif _is_segs(given):
        (segs_height_px, segs_width_px), segments = given
        fours = [_four(_listed(segment.bbox), CORNERS, f"segment {n}") for n, segment in enumerate(segments, start=1)]
        boxes = _boxes(fours, segs_width_px, segs_height_px, fractions=False)
    else:
        fours = [_read(box, numbers, f"box {n}") for n, box in enumerate(_first_frame(_listed(given)), start=1)]
        # x + width of a box that ends at the edge may come out above 1 by rounding.
        fractions = all(value <= 1 + SLACK for four in fours for value in four)
        boxes = _boxes(fours, width_px, height_px, fractions)
    if not boxes:
        raise ValueError(
            "No box came in: what is connected to boxes is empty. A detector may have found nothing; "
            "check its preview, or write the boxes yourself."
        )
    return boxes


def _boxes(fours: Sequence[Four], width_px: int, height_px: int, fractions: bool) -> tuple[Box, ...]:
    if fractions:
        return tuple(Box(*four) for four in fours)
    return tuple(Box.from_px(*four, width_px, height_px) for four in fours)


def _read(box: Any, numbers: str, label: str) -> Four:
    if not isinstance(box, Mapping):
        return _four(box, numbers, label)
    missing = [key for key in ("x", "y", "width", "height") if key not in box]
    if missing:
        raise ValueError(
            f"What is connected to boxes has no {', '.join(missing)} in {label} (it has {', '.join(map(str, box))}); "
            "expected x, y, width and height."
        )
    return _four([box[key] for key in ("x", "y", "width", "height")], SIZED, label)


def _four(values: Any, numbers: str, label: str) -> Four:
    """(x1, y1, x2, y2) of four numbers in either order; a detector's score behind them is passed over."""
    values = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if len(values) not in (4, 5) or not all(_is_number(value) for value in values[:4]):
        raise ValueError(
            f"In what is connected to boxes {label} is {_shortened(values)}; expected four numbers {numbers}, in "
            "pixels or all as fractions of the canvas."
        )
    x, y, right, bottom = (float(value) for value in values[:4])
    return (x, y, right, bottom) if numbers == CORNERS else (x, y, x + right, y + bottom)


def _first_frame(given: Any) -> Sequence[Any]:
    """A list of single boxes, out of one box, a list of boxes, or a list of frames."""
    if isinstance(given, Mapping) or _is_flat(given):
        return [given]
    if not isinstance(given, Sequence):
        raise ValueError(
            f"What is connected to boxes is {_shortened(given)}; expected BOUNDING_BOX, BBOX, SEGS or text."
        )
    frames = [frame for frame in given if isinstance(frame, Sequence) and not isinstance(frame, str)]
    if len(frames) < len(given) or any(_is_flat(frame) for frame in frames):
        return given
    if len(frames) > 1:
        LOGGER.warning("The boxes of %d frames came in; those of the first are used.", len(frames))
    return _first_frame(frames[0]) if frames and len(frames[0]) else []


def _is_flat(given: Any) -> bool:
    return (
        isinstance(given, Sequence)
        and not isinstance(given, str)
        and len(given) > 0
        and all(_is_number(value) or isinstance(value, str) for value in given)
    )


def _is_segs(given: Any) -> bool:
    """A pair of an image's size and a list of segments; an empty list of them counts."""
    if not (isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], (tuple, list))):
        return False
    size, segments = given
    sized = isinstance(size, (tuple, list)) and len(size) == 2 and all(_is_number(side) and side > 0 for side in size)
    return sized and all(hasattr(segment, "bbox") for segment in segments)


def _listed(given: Any) -> Any:
    """Arrays and tensors, also inside lists, as lists of plain numbers."""
    as_list: Callable[[], Any] | None = getattr(given, "tolist", None)
    if as_list is not None:
        return as_list()
    return [_listed(item) for item in given] if isinstance(given, (list, tuple)) else given


def _is_number(value: Any) -> bool:
    # bool is an int in Python, and True among the numbers is a mistake rather than a 1.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shortened(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{type(given).__name__} {text[:77]}..."
