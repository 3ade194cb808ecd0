"""The canvas in pixels and in image tokens, and boxes in pixels."""

import logging

LOGGER = logging.getLogger("withanyone")
# The cells that layouts are drawn in, before a model is known: one image token of every base model so far.
CELL_PX = 16

# (x1, y1, x2, y2): top left and bottom right corner.
BoxPx = tuple[float, float, float, float]
WholeBoxPx = tuple[int, int, int, int]


def check_canvas(width_px: int, height_px: int) -> None:
    """ValueError unless the canvas holds at least one image token."""
    if width_px < CELL_PX or height_px < CELL_PX:
        raise ValueError(
            f"The canvas is {width_px}x{height_px} pixels; expected at least {CELL_PX}x{CELL_PX}, "
            "the size of one image token."
        )


def floor_to_tokens(width_px: int, height_px: int) -> tuple[int, int]:
    """The canvas the released program makes of a requested size: both sides floored to multiples of 16 pixels."""
    floored = width_px // CELL_PX * CELL_PX, height_px // CELL_PX * CELL_PX
    if floored != (width_px, height_px):
        LOGGER.warning("A %dx%d canvas is not made of 16-pixel cells; using %dx%d.", width_px, height_px, *floored)
    return floored
