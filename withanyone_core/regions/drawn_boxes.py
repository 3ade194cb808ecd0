"""Boxes as a workflow keeps them: JSON, a list of [x1, y1, x2, y2] in fractions of the canvas, in full precision."""

import json
import math
from collections.abc import Sequence
from typing import Any

from .layout import Box

EXAMPLE = "[[0.1, 0.2, 0.4, 0.6], [0.6, 0.2, 0.9, 0.6]]"
EXPECTED = f"expected a list of boxes such as {EXAMPLE}: x1, y1, x2, y2 of each as fractions of the canvas"
_PIXELS_FROM = 2.0  # a fraction this far outside is no box that was pushed over the edge


def boxes_to_json(boxes: Sequence[Box]) -> str:
    """The text that `boxes_from_json` gives the same boxes back for, bitwise identical."""
    return json.dumps([[float(value) for value in box.as_tuple()] for box in boxes])


def boxes_from_json(text: str) -> tuple[Box, ...]:
    """The boxes, in their order. Those that reach over the canvas's edge stay as they are: Layout clamps them.

    Raises ValueError naming what came for anything that is not JSON, not a list of fours of finite numbers, inverted,
    without area, entirely outside or in pixels; and where there is no box at all.
    """
    try:
        given = json.loads(text)
    # Python's JSON reader recurses, and RecursionError is no ValueError.
    except RecursionError as error:
        raise ValueError(f"The boxes are nested too deeply; {EXPECTED}.") from error
    except ValueError as error:
        raise ValueError(
            f"The boxes read {_short(text)}, which is not JSON ({error}); {EXPECTED}. Draw them again in the node."
        ) from error
    if not isinstance(given, list):
        raise ValueError(f"The boxes read {_short(text)}; {EXPECTED}.")
    if not given:
        raise ValueError("There is no box. Draw one on the canvas of Face Layout, or choose a preset there.")
    return tuple(_box(four, number) for number, four in enumerate(given, start=1))


def _box(four: Any, number: int) -> Box:
    words = f"Box {number} is {_short(json.dumps(four))}"
    if not (isinstance(four, list) and len(four) == 4 and all(_is_finite(value) for value in four)):
        raise ValueError(f"{words}; {EXPECTED}.")
    x1, y1, x2, y2 = (float(value) for value in four)
    if max(x1, y1, x2, y2) >= _PIXELS_FROM:
        raise ValueError(
            f"{words}, which looks like pixels; expected fractions of the canvas from 0 to 1. Divide by its width and "
            "height, or use WithAnyone Layout, which takes pixels."
        )
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"{words}: it has no area. Expected the top left corner first: x1 < x2 and y1 < y2.")
    if x1 >= 1 or y1 >= 1 or x2 <= 0 or y2 <= 0:
        raise ValueError(f"{words}: it lies entirely outside the canvas, which reaches from 0 to 1. Move or delete it.")
    return Box(x1, y1, x2, y2)


def _is_finite(value: Any) -> bool:
    """Whether it is a number; JSON's integers may be too large for a float, and Python's JSON knows NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
