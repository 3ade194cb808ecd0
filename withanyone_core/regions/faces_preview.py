"""An image of placed people: whose cells are whose, with names, crops and overlaps below."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..canvas import CELL_PX
from .cells import Grid
from .layout import Box, PlacedFace
from .ownership import labels, overlap_lines, owned_cells, place_text
from .preview import CANVAS, SHADE_ALPHA, colour_of, drawable, empty_canvas

ENTRY_WIDTH, ENTRY_HEIGHT, CROP_PX, MARGIN = 340, 84, 68, 8
FONT_PX, LINE_PX = 20, 28
MOST_OVERLAPS = 12  # lines below the image; all of them are in the text
STRIPE_PX = 8
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_faces(faces: Sequence[PlacedFace], grid: Grid, behind: np.ndarray | None = None) -> np.ndarray:
    """uint8 [height, width, 3]: the canvas, its longer side 1024 pixels, over a list of the people.

    Every person's cells are shaded in a colour of their own; shared cells are striped in the colours of all who share
    them. A box is outlined where it was drawn, a mask along its cells. `behind` as in `draw_layout`.
    """
    members_PL = owned_cells(faces, grid)
    canvas, scale = empty_canvas(grid.canvas_width_px, grid.canvas_height_px, behind)
    canvas = _shaded(canvas, members_PL, grid, scale)
    draw = ImageDraw.Draw(canvas)
    for index, (face, cells_L) in enumerate(zip(faces, members_PL, strict=True)):
        # People who share a box stay visible: each later outline lies inside the one before.
        inset = 3 * sum(face.region == earlier.region for earlier in faces[:index])
        _outline(draw, colour_of(index + 1), face, cells_L.view(grid.rows, grid.columns), grid, scale, inset)
    _name_places(draw, faces, members_PL, grid, scale)
    return _over_legend(canvas, faces, members_PL)


def _shaded(canvas: Image.Image, members_PL: Tensor, grid: Grid, scale: float) -> Image.Image:
    """The canvas with each cell in its owners' colours, in diagonal stripes where there are several."""
    width, height = canvas.size
    column = (np.arange(width) / (CELL_PX * scale)).astype(int).clip(0, grid.columns - 1)
    row = (np.arange(height) / (CELL_PX * scale)).astype(int).clip(0, grid.rows - 1)
    cell_HW = row[:, None] * grid.columns + column[None, :]
    stripe_HW = (np.arange(height)[:, None] + np.arange(width)[None, :]) // STRIPE_PX
    owners_L = members_PL.sum(0).numpy()
    # Stripe s of a cell with n owners is owner s modulo n's; clip keeps the modulus from 0 where nobody owns the cell.
    turn_HW = stripe_HW % owners_L[cell_HW].clip(1)
    # Which of a cell's owners somebody is, from 0.
    rank_PL = (members_PL.cumsum(0) - 1).numpy()
    shaded_HWC = np.asarray(canvas, dtype=np.float32).copy()
    for index, owned_L in enumerate(members_PL.numpy()):
        mine_HW = owned_L[cell_HW] & (rank_PL[index][cell_HW] == turn_HW)
        shaded_HWC[mine_HW] += SHADE_ALPHA / 255 * (np.array(colour_of(index + 1)) - shaded_HWC[mine_HW])
    return Image.fromarray(shaded_HWC.round().astype(np.uint8))


def _outline(
    draw: ImageDraw.ImageDraw,
    colour: tuple[int, int, int],
    face: PlacedFace,
    cells_RC: Tensor,
    grid: Grid,
    scale: float,
    inset: int,
) -> None:
    if isinstance(face.region, Box):
        edges_px = face.region.to_px(grid.canvas_width_px, grid.canvas_height_px)
        x1, y1, x2, y2 = (edge * scale for edge in edges_px)
        draw.rectangle(drawable((x1 + inset, y1 + inset, x2 - inset, y2 - inset)), outline=colour, width=3)
        return
    side = CELL_PX * scale
    # A frame of empty cells: without it a mask that reaches the canvas's edge has no outline there.
    edged_RC = torch.nn.functional.pad(cells_RC.int(), (1, 1, 1, 1))
    for row, column in edged_RC.diff(dim=0)[:, 1:-1].nonzero().tolist():
        draw.line((column * side, row * side, (column + 1) * side, row * side), fill=colour, width=3)
    for row, column in edged_RC.diff(dim=1)[1:-1].nonzero().tolist():
        draw.line((column * side, row * side, column * side, (row + 1) * side), fill=colour, width=3)


def _name_places(
    draw: ImageDraw.ImageDraw, faces: Sequence[PlacedFace], members_PL: Tensor, grid: Grid, scale: float
) -> None:
    """A label on the middle of each person's cells, only the number where the name is wider than they are.

    A line lower where another label is already there.
    """
    font = ImageFont.load_default(FONT_PX)
    written: list[tuple[float, float, float, float]] = []
    for number, (label, cells_L) in enumerate(zip(labels(faces), members_PL, strict=True), start=1):
        places = cells_L.view(grid.rows, grid.columns).nonzero()
        if not len(places):
            continue
        y, x = ((places.float().mean(0) + 0.5) * CELL_PX * scale).tolist()
        cells_width = int(places[:, 1].max() - places[:, 1].min() + 1) * CELL_PX * scale
        text = label if draw.textlength(label, font=font) <= cells_width else str(number)
        place = draw.textbbox((x, y), text, font=font, anchor="mm", stroke_width=2)
        while any(_touch(place, other) for other in written):
            y += LINE_PX
            place = draw.textbbox((x, y), text, font=font, anchor="mm", stroke_width=2)
        written.append(place)
        draw.text((x, y), text, "white", font, anchor="mm", stroke_width=2, stroke_fill=CANVAS)


def _touch(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _over_legend(canvas: Image.Image, faces: Sequence[PlacedFace], members_PL: Tensor) -> np.ndarray:
    """The canvas over an entry for each person and a line for each overlap."""
    lines = overlap_lines(faces, members_PL)
    hidden = len(lines) - MOST_OVERLAPS
    lines = [*lines[:MOST_OVERLAPS], *([f"and {hidden} more pairs"] if hidden > 0 else [])]
    width = max(canvas.width, 2 * ENTRY_WIDTH)
    columns = width // ENTRY_WIDTH
    rows = -(-len(faces) // columns)
    height = canvas.height + rows * ENTRY_HEIGHT + len(lines) * LINE_PX + MARGIN
    image = Image.new("RGB", (width, height), "black")
    image.paste(canvas, ((width - canvas.width) // 2, 0))
    draw = ImageDraw.Draw(image)
    counts = members_PL.sum(1).tolist()
    for index, (label, face, cells) in enumerate(zip(labels(faces), faces, counts, strict=True)):
        corner = index % columns * ENTRY_WIDTH, canvas.height + index // columns * ENTRY_HEIGHT
        _draw_entry(image, draw, corner, colour_of(index + 1), label, face, cells)
    top = canvas.height + rows * ENTRY_HEIGHT
    font = ImageFont.load_default(FONT_PX)
    for number, line in enumerate(lines):
        draw.text((MARGIN, top + number * LINE_PX), _fitted(draw, line, font, width - 2 * MARGIN), "white", font)
    return np.asarray(image)


def _draw_entry(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    label: str,
    face: PlacedFace,
    cells: int,
) -> None:
    x, y = corner[0] + MARGIN, corner[1] + MARGIN
    crop = Image.fromarray((face.identity.crop * 255.0).round().byte().cpu().numpy())
    image.paste(crop.resize((CROP_PX, CROP_PX), Image.Resampling.LANCZOS), (x, y))
    draw.rectangle((x, y, x + CROP_PX - 1, y + CROP_PX - 1), outline=colour, width=4)
    left, width = x + CROP_PX + MARGIN, ENTRY_WIDTH - CROP_PX - 3 * MARGIN
    large, small = ImageFont.load_default(FONT_PX), ImageFont.load_default(FONT_PX - 4)
    draw.text((left, y + 6), _fitted(draw, label, large, width), colour, large)
    draw.text((left, y + 38), _fitted(draw, place_text(face, cells), small, width), "white", small)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> str:
    """The text, cut at its end and marked so where it is longer than the width."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(f"{text}...", font=font) > width:
        text = text[:-1]
    return f"{text}..."
