"""Images whose faces are squares of one colour, and an analysis that knows the colours: cosines known beforehand."""

from collections.abc import Mapping

import numpy as np
import torch

from ..withanyone_core.faces.alignment import TEMPLATE_PX
from ..withanyone_core.identity import Face, Identity
from ..withanyone_core.regions.layout import Box, PlacedFace

SIDE_PX = 64
WIDTH = 512
LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)


def direction(*parts: float) -> np.ndarray:
    """An embedding float32 [512] with these first numbers."""
    embedding = np.zeros(WIDTH, np.float32)
    embedding[: len(parts)] = parts
    return embedding


def at_angle(radians: float, first: int = 0, second: int = 1) -> np.ndarray:
    """An embedding turned so far from axis `first` towards axis `second`."""
    embedding = np.zeros(WIDTH, np.float32)
    embedding[first], embedding[second] = np.cos(radians), np.sin(radians)
    return embedding


def gray_image(*levels: int, side_px: int = SIDE_PX) -> np.ndarray:
    """An image [64, 64 a level, 3] with a face for each level but 0, from left to right."""
    image = np.zeros((side_px, side_px * len(levels), 3), np.uint8)
    for number, level in enumerate(levels):
        quarter = side_px // 4
        left = number * side_px
        image[quarter : 3 * quarter, left + quarter : left + 3 * quarter] = level
    return image


def batch(*photos: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(photos)).to(torch.float32) / 255


class GrayFaces:
    """Finds every square whose level it knows; counts how often it was asked."""

    def __init__(self, embeddings: Mapping[int, np.ndarray], model_name: str = "") -> None:
        self.embeddings = embeddings
        self.model_name = model_name
        self.asked = 0

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        self.asked += 1
        found = []
        for level, embedding in self.embeddings.items():
            rows, columns = np.nonzero(photo[..., 0] == level)
            if len(rows):
                box = (columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0)
                found.append(Face(tuple(map(float, box)), 0.99 - level / 1000, TEMPLATE_PX, embedding))
        return tuple(sorted(found, key=lambda face: -face.score))


def person(name: str, embedding: np.ndarray, **more: object) -> Identity:
    crop = more.pop("crop", torch.full((512, 512, 3), 0.5))
    return Identity(name, torch.from_numpy(embedding), None, crop, **more)


def placed(*people: Identity, boxes: tuple[Box, ...] = (LEFT, RIGHT)) -> tuple[PlacedFace, ...]:
    pairs = zip(people, boxes[: len(people)], strict=True)
    return tuple(PlacedFace(one, box, box_number=number) for number, (one, box) in enumerate(pairs, start=1))
