"""Drawn people, for images that may be committed: no photograph of anyone is.

A head is one flat colour, by which `boxes_px` finds it again in an image that is compressed without loss.
"""

import numpy as np
from PIL import Image, ImageDraw

# What each person is known by: skin (no other colour comes near it), hair, clothes.
PEOPLE = {
    "ann": ((236, 188, 150), (92, 52, 34), (186, 74, 62)),
    "bob": ((198, 142, 100), (38, 34, 40), (58, 104, 148)),
    "eve": ((250, 214, 190), (214, 164, 74), (84, 138, 96)),
}
BACKDROP = (208, 216, 222)
TOLERANCE = 6  # of a level; resampling leaves the inside of a head as it was

Place = tuple[str, float, float, float]  # who, the middle of the head and its height, in fractions of the image


def draw_people(size_px: tuple[int, int], *places: Place, backdrop: tuple[int, int, int] = BACKDROP) -> Image.Image:
    """An image (width, height) of these people, drawn at twice the size and halved."""
    width, height = (2 * side for side in size_px)
    image = Image.new("RGB", (width, height), backdrop)
    draw = ImageDraw.Draw(image)
    for name, x, y, part in places:
        draw_person(draw, PEOPLE[name], x * width, y * height, part * height)
    return image.resize(size_px, Image.Resampling.LANCZOS)


def draw_person(draw: ImageDraw.ImageDraw, colours: tuple, x: float, y: float, high: float) -> None:
    """Hair, shoulders, head, eyes and mouth around (x, y)."""
    skin, hair, clothes = colours
    wide = 0.78 * high
    ellipse(draw, x, y - 0.08 * high, 1.14 * wide, 1.12 * high, hair)
    ellipse(draw, x, y + 1.5 * high, 2.1 * wide, 2.1 * high, clothes)
    ellipse(draw, x, y, wide, high, skin)
    for side in (-1, 1):
        ellipse(draw, x + side * 0.2 * wide, y - 0.08 * high, 0.11 * wide, 0.08 * high, (40, 36, 44))
    smile = (x - 0.18 * wide, y + 0.08 * high, x + 0.18 * wide, y + 0.3 * high)
    draw.arc(smile, 20, 160, fill=(150, 60, 60), width=max(2, round(0.035 * high)))


def ellipse(
    draw: ImageDraw.ImageDraw, x: float, y: float, wide: float, high: float, fill: tuple[int, int, int]
) -> None:
    draw.ellipse((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), fill=fill)


def boxes_px(image: np.ndarray) -> dict[str, tuple[float, float, float, float]]:
    """The head of each person who is in an image, uint8 [H, W, 3]: (x1, y1, x2, y2)."""
    found = {}
    for name, (skin, _, _) in PEOPLE.items():
        rows, columns = np.nonzero((np.abs(image.astype(int) - skin) <= TOLERANCE).all(2))
        if len(rows) > 100:
            found[name] = tuple(map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)))
    return found
