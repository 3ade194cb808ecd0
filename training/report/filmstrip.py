"""A filmstrip of a run: a row for each image that is generated at every validation, a column for each validation."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

LARGEST_TILE_PX, MOST_PX = 192, 16_000  # MOST_PX: of the whole, wide or high; many programs open no more
_LABEL_PX, _GAP_PX = 20, 4
_PAPER, _INK, _MISSING = "white", "black", "#d5d9e0"

Cell = Sequence[Path]  # images side by side


def filmstrip(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Image.Image:
    """The images in equal squares below the columns' names; grey where one is not there."""
    tile_px = min(LARGEST_TILE_PX, MOST_PX // max(len(columns), len(rows), 1) - _GAP_PX)
    pitch = tile_px + _GAP_PX
    strip = Image.new("RGB", (pitch * len(columns), _LABEL_PX + pitch * len(rows)), _PAPER)
    pen = ImageDraw.Draw(strip)
    for across, name in enumerate(columns):
        pen.text((across * pitch, _GAP_PX), name, fill=_INK)
        for down, row in enumerate(rows):
            strip.paste(_tile(row[across], tile_px), (across * pitch, _LABEL_PX + down * pitch))
    return strip


def _tile(cell: Cell, tile_px: int) -> Image.Image:
    found = [path for path in cell if path.is_file()]
    tile = Image.new("RGB", (tile_px, tile_px), _PAPER if found else _MISSING)
    width = tile_px // max(1, len(found))
    for number, path in enumerate(found):
        with Image.open(path) as opened:
            image = ImageOps.contain(opened.convert("RGB"), (width, tile_px))
        tile.paste(image, (number * width + (width - image.width) // 2, (tile_px - image.height) // 2))
    return tile
