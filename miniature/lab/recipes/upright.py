"""Batches of upright faces for recognizers: which faces, how carelessly aligned, how worn. Letters: B, C, H, W."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from withanyone_core.faces.alignment import Template, aligned_face

from .pool import Pool
from .wear import worn


@dataclass(frozen=True, eq=False)
class UprightFaces:
    """Faces of pools, drawn by seed and step.

    side_px, template  the crop
    carelessness       of the landmarks, a detector's error: standard deviation as a fraction of the eyes' distance
    wear               strength of `wear.worn`
    """

    pools: tuple[Pool, ...]
    template: Template
    side_px: int
    batch: int
    seed: int
    carelessness: float
    wear: float

    @property
    def seconds(self) -> float:
        return sum(pool.seconds for pool in self.pools)

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Crops uint8 RGB [B, side, side, 3] and their FACE records [B]."""
        rng = np.random.default_rng([self.seed, step])
        sizes = np.array([len(pool.faces) for pool in self.pools])
        crops = np.zeros((self.batch, self.side_px, self.side_px, 3), np.uint8)
        records = np.zeros(self.batch, self.pools[0].faces.dtype)
        for place in range(self.batch):
            pool = self.pools[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
            records[place] = pool.faces[int(rng.integers(len(pool.faces)))]
            crops[place] = self._crop(pool, records[place], rng)
        return crops, records

    def _crop(self, pool: Pool, record: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        points = record["landmarks"]
        between_eyes = float(np.linalg.norm(points[1] - points[0]))
        careless = points + rng.normal(0, self.carelessness * between_eyes, points.shape)
        upright = aligned_face(pool.pixels[record["image"]], careless, self.template, self.side_px)
        return worn(upright, rng, self.wear)


def unit_pixels(crops: np.ndarray, bgr: bool = False) -> Tensor:
    """Crops uint8 RGB [B, H, W, 3] as float32 [B, 3, H, W] in -1..1, (value - 127.5) / 127.5."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1] if bgr else crops))
    return pixels.permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)
