"""People whose faces are textures of random gray patches, found by the small pack's detector and told apart by its
recognizer, which shows its input: so a face is known beforehand, and so is a mean of two.

A face is the 32 pixels around a red 8-pixel cell, which the detector looks for; its landmarks are ArcFace's template.
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE, FACE, PATCH = 160, 32, 4
RED = (240, 0, 0)
PLACES = ((24, 24), (96, 24), (24, 96), (96, 96))  # top left corners of faces
NOISE = 45.0  # levels that photos of one person differ by


def person(number: int) -> np.ndarray:
    """The texture, float64 [8, 8] around 0."""
    return np.random.default_rng([1, number]).uniform(-125, 125, (FACE // PATCH, FACE // PATCH))


def shot(texture: np.ndarray, number: int, noise: float = NOISE) -> np.ndarray:
    """The person in one photo or image."""
    return texture + np.random.default_rng([2, number]).normal(0, noise, texture.shape)


def image(*textures: np.ndarray | None) -> np.ndarray:
    """RGB uint8 [160, 160, 3] with faces in PLACES in turn; None leaves one empty."""
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for texture, (x, y) in zip(textures, PLACES, strict=False):
        if texture is not None:
            levels = np.kron(texture, np.ones((PATCH, PATCH)))
            pixels[y : y + FACE, x : x + FACE] = (128 + levels).clip(0, 255)[..., None]
            pixels[y + 8 : y + 16, x + 8 : x + 16] = RED
    return pixels


def box(place: int) -> list[int]:
    """Where a face of that place is, in pixels."""
    x, y = PLACES[place]
    return [x, y, x + FACE, y + FACE]


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_people(folder: Path, *names: str, photos: int = 4) -> Path:
    """Photos of people 0, 1, ... under these names."""
    for number, name in enumerate(names):
        for photo in range(photos):
            save(folder / name / f"{photo}.png", image(shot(person(number), 100 * number + photo)))
    return folder
