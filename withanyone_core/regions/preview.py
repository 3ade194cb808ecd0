"""An image of a layout: numbered boxes on the canvas, with the cells that each of them really covers."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..canvas import CELL_PX
from .cells import box_cells
from .layout import Layout

PREVIEW_PX = 1024
CANVAS, GRID = (52, 54, 58), (62, 64, 69)
SHADE_ALPHA = 90
GOLDEN_ANGLE = 0.618034  # of the colour circle: neighbouring numbers get hues far apart, however many there are


def draw_layout(layout: Layout, behind: np.ndarray | None = None) -> np.ndarray:
    """uint8 [height, width, 3], the longer side 1024 pixels whatever the canvas; shaded are whole 16-pixel cells.

    `behind` is an image uint8 [H, W, 3] stretched over the canvas; without one it is neutral with a grid of cells.
    """
    image, scale = empty_canvas(layout.width_px, layout.height_px, behind)
    draw = ImageDraw.Draw(image, "RGBA")
    columns, rows = layout.width_px // CELL_PX, layout.height_px // CELL_PX
    for number, box in enumerate(layout.boxes, start=1):
        box_px = box.to_px(layout.width_px, layout.height_px)
        cells = box_cells(box_px, columns, rows)
        shade = tuple(edge * CELL_PX * scale for edge in cells)
        outline = tuple(edge * scale for edge in box_px)
        _draw_box(draw, number, shade, outline)
    return np.asarray(image)


def empty_canvas(width_px: int, height_px: int, behind: np.ndarray | None) -> tuple[Image.Image, float]:
    """The canvas before anything stands on it, and the size in it of one pixel of the real one."""
    scale = PREVIEW_PX / max(width_px, height_px)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    if behind is not None:
        return Image.fromarray(behind).resize(size, Image.Resampling.BICUBIC), scale
    image = Image.new("RGB", size, CANVAS)
    _draw_grid(ImageDraw.Draw(image), size, CELL_PX * scale)
    return image, scale


def thumbnail(image_HWC: np.ndarray, longest_px: int) -> np.ndarray:
    """The image, uint8 [H, W, 3], no longer than so many pixels on either side; a smaller one is as it was."""
    image = Image.fromarray(image_HWC)
    image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _draw_grid(draw: ImageDraw.ImageDraw, size: tuple[int, int], cell: float) -> None:
    if cell < 6:  # closer lines would only grey the canvas
        return
    width, height = size
    for column in range(1, int(width / cell) + 1):
        draw.line((column * cell, 0, column * cell, height), fill=GRID)
    for row in range(1, int(height / cell) + 1):
        draw.line((0, row * cell, width, row * cell), fill=GRID)


def _draw_box(draw: ImageDraw.ImageDraw, number: int, shade: tuple[float, ...], outline: tuple[float, ...]) -> None:
    colour = colour_of(number)
    # A rectangle's last pixel is drawn, while the last cell ends before it; a sliver still shows as one pixel.
    draw.rectangle(drawable(shade), fill=(*colour, SHADE_ALPHA))
    draw.rectangle(drawable(outline), outline=colour, width=3)
    x1, y1, x2, y2 = outline
    size = max(12, min(x2 - x1, y2 - y1, PREVIEW_PX / 8) * 0.6)
    centre = (x1 + x2) / 2, (y1 + y2) / 2
    draw.text(
        centre,
        str(number),
        fill="white",
        anchor="mm",
        font=ImageFont.load_default(size),
        stroke_width=2,
        stroke_fill=CANVAS,
    )


def drawable(edges: tuple[float, ...]) -> tuple[float, ...]:
    """Edges (x1, y1, x2, y2) as Pillow draws them: with the last pixel, and never the wrong way round."""
    x1, y1, x2, y2 = edges
    return x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)


def colour_of(number: int) -> tuple[int, int, int]:
    """RGB 0 to 255 of a box or person, by its number from 1."""
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN_ANGLE % 1, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
