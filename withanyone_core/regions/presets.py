"""Places for people nobody placed: the released program's layouts for one to four, an even row for more."""

import math
import random

from ..canvas import CELL_PX, WholeBoxPx
from ..tolerance import SLACK
from .layout import Box, Layout

PRESET_SIZE_PX = 512

# Source: the released program's fallback boxes, on a square of 512 pixels.
PRESETS: dict[int, tuple[tuple[WholeBoxPx, ...], ...]] = {
    1: (
        ((100, 100, 300, 300),),
        ((128, 128, 320, 320),),
        ((128, 256, 320, 448),),
        ((150, 50, 450, 350),),
        ((160, 96, 352, 288),),
        ((192, 160, 368, 336),),
        ((196, 196, 380, 380),),
        ((200, 100, 500, 400),),
        ((208, 96, 400, 288),),
        ((250, 150, 512, 450),),
        ((288, 128, 448, 320),),
        ((64, 128, 224, 320),),
        ((80, 80, 240, 272),),
        ((96, 160, 288, 352),),
        ((96, 208, 288, 400),),
        ((96, 96, 288, 288),),
    ),
    2: (
        ((16, 128, 176, 320), (336, 128, 496, 320)),
        ((32, 144, 192, 336), (320, 144, 480, 336)),
        ((48, 120, 224, 344), (288, 144, 448, 336)),
        ((48, 120, 232, 328), (280, 120, 464, 328)),
        ((48, 128, 208, 320), (304, 128, 464, 320)),
        ((64, 112, 224, 304), (288, 112, 448, 304)),
        ((64, 128, 240, 336), (272, 144, 432, 320)),
        ((64, 192, 224, 384), (288, 192, 448, 384)),
        ((72, 136, 232, 328), (280, 152, 440, 344)),
        ((80, 160, 240, 352), (272, 160, 432, 352)),
        ((80, 224, 240, 416), (272, 224, 432, 416)),
        ((80, 64, 240, 256), (272, 64, 432, 256)),
        ((80, 96, 240, 288), (272, 96, 432, 288)),
        ((96, 160, 240, 336), (272, 160, 416, 336)),
        ((96, 160, 256, 352), (288, 160, 448, 352)),
        ((96, 176, 256, 368), (288, 176, 448, 368)),
    ),
    3: (
        ((20, 140, 150, 360), (180, 120, 330, 360), (360, 130, 500, 360)),
        ((30, 100, 160, 300), (190, 90, 320, 290), (350, 110, 480, 310)),
        ((30, 120, 150, 320), (200, 140, 320, 340), (360, 160, 500, 360)),
        ((40, 180, 150, 330), (200, 180, 310, 330), (360, 180, 470, 330)),
        ((40, 260, 170, 480), (190, 60, 320, 240), (350, 260, 490, 480)),
        ((50, 80, 170, 250), (200, 130, 320, 300), (350, 80, 480, 250)),
        ((60, 120, 170, 300), (210, 110, 320, 290), (350, 140, 480, 320)),
        ((80, 140, 200, 300), (220, 80, 350, 260), (370, 160, 500, 320)),
    ),
    4: (
        ((180, 30, 330, 170), (30, 220, 150, 380), (200, 220, 320, 380), (360, 220, 490, 380)),
        ((20, 100, 120, 240), (140, 100, 240, 240), (260, 100, 360, 240), (380, 100, 480, 240)),
        ((20, 120, 120, 380), (140, 100, 240, 360), (260, 120, 360, 380), (380, 100, 480, 360)),
        ((30, 140, 110, 330), (140, 140, 220, 330), (250, 140, 330, 330), (370, 140, 450, 330)),
        ((30, 60, 140, 200), (370, 60, 480, 200), (30, 320, 140, 460), (370, 320, 480, 460)),
        ((30, 80, 150, 240), (180, 120, 300, 280), (330, 80, 450, 240), (200, 300, 320, 460)),
        ((40, 60, 200, 260), (220, 60, 380, 260), (40, 280, 200, 480), (220, 280, 380, 480)),
        ((40, 80, 150, 240), (40, 260, 150, 420), (200, 80, 310, 240), (370, 80, 480, 240)),
    ),
}

# By the canvas that a model was trained on, the only places it knows. These are the miniature's: a copy of what
# miniature/world/scene.py says, which nothing here imports; a test compares.
_LEFT, _MIDDLE, _RIGHT = (0, 32, 80, 112), (48, 32, 128, 112), (96, 32, 176, 112)
_UPPER_LEFT, _UPPER_MIDDLE, _UPPER_RIGHT = (0, 0, 80, 80), (48, 0, 128, 80), (80, 0, 160, 80)
_LOWER_LEFT, _LOWER_RIGHT = (16, 96, 96, 176), (96, 96, 176, 176)
PLACES: dict[tuple[int, int], dict[int, tuple[tuple[WholeBoxPx, ...], ...]]] = {
    (176, 176): {
        1: ((_MIDDLE,), (_LEFT,), (_RIGHT,)),
        2: ((_LEFT, _RIGHT),),
        3: ((_UPPER_MIDDLE, _LOWER_LEFT, _LOWER_RIGHT),),
        4: ((_UPPER_LEFT, _UPPER_RIGHT, _LOWER_LEFT, _LOWER_RIGHT),),
    }
}

NAMED_PLACES = ("left", "middle", "right")


def preset_layout(people: int, width_px: int, height_px: int, seed: int = 0) -> Layout:
    """One of the presets for so many people, chosen by the seed alone; five and more stand in an even row.

    A canvas of PLACES has presets of its own. ValueError for fewer than one person, or more than the canvas has columns
    of 16 pixels.
    """
    if people not in PRESETS:
        return row_layout(people, width_px, height_px)
    if (width_px, height_px) in PLACES:
        # A generator of its own, by the seed: the released program draws from an unseeded one, and its layouts never
        # come again.
        known = random.Random(seed).choice(PLACES[width_px, height_px][people])
        return _layout(list(known), width_px, height_px)
    preset = random.Random(seed).choice(PRESETS[people])
    return _layout([letterbox(box, width_px, height_px) for box in preset], width_px, height_px)


def row_layout(people: int, width_px: int, height_px: int) -> Layout:
    """So many people in an even row; on a canvas of PLACES in the first of those. ValueError as for `preset_layout`."""
    if people < 1:
        raise ValueError(f"A layout for {people} people was asked for; expected at least 1.")
    known = PLACES.get((width_px, height_px), {}).get(people)
    if known:
        return _layout(list(known[0]), width_px, height_px)
    return _layout(even_row(people, width_px, height_px), width_px, height_px)


def named_place(name: str, width_px: int, height_px: int) -> Box:
    """A place of NAMED_PLACES for one person: a third of an even row, or the canvas's own. ValueError for another."""
    if name not in NAMED_PLACES:
        raise ValueError(f"{name!r} is no place; expected one of {', '.join(NAMED_PLACES)}.")
    known = PLACES.get((width_px, height_px), {}).get(1)
    if known:
        row = sorted(box for (box,) in known)
        return Box.from_px(*row[NAMED_PLACES.index(name)], width_px, height_px)
    return row_layout(len(NAMED_PLACES), width_px, height_px).boxes[NAMED_PLACES.index(name)]


def _layout(boxes_px: list[WholeBoxPx], width_px: int, height_px: int) -> Layout:
    return Layout(tuple(Box.from_px(*box, width_px, height_px) for box in boxes_px), width_px, height_px)


def known_places() -> dict[str, list[list[float]]]:
    """Every box of each canvas of PLACES ("176x176") once, in fractions, as the browser snaps to them."""
    return {
        f"{width}x{height}": [
            list(Box.from_px(*box, width, height).as_tuple())
            for box in dict.fromkeys(box for layouts in by_people.values() for layout in layouts for box in layout)
        ]
        for (width, height), by_people in PLACES.items()
    }


def letterbox(box: WholeBoxPx, width_px: int, height_px: int) -> WholeBoxPx:
    """A box of the 512 square on the largest centred square of the canvas, truncated to whole pixels (as released)."""
    scale = min(width_px / PRESET_SIZE_PX, height_px / PRESET_SIZE_PX)
    left = (width_px - PRESET_SIZE_PX * scale) / 2
    top = (height_px - PRESET_SIZE_PX * scale) / 2
    x1, y1, x2, y2 = box
    return int(x1 * scale + left), int(y1 * scale + top), int(x2 * scale + left), int(y2 * scale + top)


def even_row(people: int, width_px: int, height_px: int) -> list[WholeBoxPx]:
    """Equal portrait boxes side by side, a little above the centre, on edges of 16-pixel cells so that none share one.

    A head takes 7/10 of the width that each person has, but is never higher than half the canvas.
    """
    columns, rows = width_px // CELL_PX, height_px // CELL_PX
    if columns < people:
        raise ValueError(
            f"{people} people in a row need a canvas at least {people * CELL_PX} pixels wide, not {width_px}. "
            "Widen it, or write the boxes yourself."
        )
    width_each = columns / people
    # `high` below is 1.25 x `wide`: 0.4 of the rows keeps it at half the canvas.
    wide = max(1, min(int(0.7 * width_each + SLACK), int(0.4 * rows + SLACK)))
    high = min(math.ceil(1.25 * wide - SLACK), rows)
    top = max(0, round(0.44 * rows - high / 2))
    # int(x + 0.5) rounds every half up; round() takes halves to even numbers, and the gaps of a row would differ.
    lefts = [int((number + 0.5) * width_each - wide / 2 + 0.5 + SLACK) for number in range(people)]
    return [(left * CELL_PX, top * CELL_PX, (left + wide) * CELL_PX, (top + high) * CELL_PX) for left in lefts]
