"""Windows: the squares of whole cells around people, a quarter of an image each.

A face takes up its window whatever else the image shows, so models learn faces from windows first, at a fraction of
the price of whole images.
"""

from dataclasses import dataclass

import numpy as np

from ...world.scene import SIDE_PX, SPOT_CELLS, SPOTS
from .pool import Pool

WINDOW_PX = SPOTS[0].box_px[2] - SPOTS[0].box_px[0]
PX_A_CELL = WINDOW_PX // SPOT_CELLS
CORNERS = np.array([(spot.column, spot.row) for spot in SPOTS])
LATENTS_A_CELL = 2


@dataclass(frozen=True, eq=False)
class WindowDraw:
    """Windows drawn from a pool: `pixels` uint8 RGB [B, 80, 80, 3] and the FACE records of their people [B]."""

    pixels: np.ndarray
    faces: np.ndarray


def draw_windows(pool: Pool, rng: np.random.Generator, count: int) -> WindowDraw:
    """So many people of the pool's scenes at random, each in the window of their spot."""
    faces = pool.faces[np.sort(rng.integers(len(pool.faces), size=count))]
    pixels = np.stack([window_of(pool.pixels[face["image"]], int(face["spot"])) for face in faces])
    return WindowDraw(pixels, faces)


def window_of(image: np.ndarray, spot: int) -> np.ndarray:
    """The window of SPOTS[spot] in an image [side, side, ...] of any resolution whose side is a multiple of CELLS."""
    cell = image.shape[0] * PX_A_CELL // SIDE_PX
    column, row = CORNERS[spot] * cell
    side = SPOT_CELLS * cell
    return image[row : row + side, column : column + side]
