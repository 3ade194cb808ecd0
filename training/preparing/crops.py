"""Cuts of a photo for the buckets of training, all of which show every chosen face whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from PIL import Image

from withanyone_core.canvas import CELL_PX
from withanyone_core.tolerance import SLACK_PX

MULTIPLE_PX = CELL_PX  # of a training size: whole image tokens
MARGIN = 0.2  # of a face's box on each side, for hair, ears and chin, where the photo has it
ENLARGED_AT_MOST = 1.25  # what resizing may add to a photo before it looks soft

BoxPx = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """A rectangle (x1, y1, x2, y2) in pixels of the photo, in floats, and the size it is scaled to."""

    rectangle_px: BoxPx
    width_px: int
    height_px: int

    def pixels(self, photo: np.ndarray) -> np.ndarray:
        """uint8 [height_px, width_px, 3] of an RGB photo [H, W, 3] uint8."""
        size = (self.width_px, self.height_px)
        return np.array(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS, box=self.rectangle_px))

    def box(self, box_px: BoxPx) -> BoxPx:
        """A box in pixels of the photo as fractions of the crop, clipped to it."""
        points = self.points(np.array(box_px, np.float64).reshape(2, 2)).clip(0.0, 1.0)
        return tuple(points.reshape(-1).tolist())

    def points(self, points_px: np.ndarray) -> np.ndarray:
        """Points [n, 2] in pixels of the photo as fractions of the crop, which may lie outside it."""
        x1, y1, x2, y2 = self.rectangle_px
        return (points_px - (x1, y1)) / (x2 - x1, y2 - y1)


def bucket_sizes(sizes_px: Sequence[int], aspects: Sequence[float]) -> tuple[tuple[int, int], ...]:
    """Widths and heights, multiples of 16, of about size x size pixels at each aspect (width over height)."""
    found = {(_multiple(size * sqrt(ratio)), _multiple(size / sqrt(ratio))) for size in sizes_px for ratio in aspects}
    return tuple(sorted(found))


def _multiple(side_px: float) -> int:
    return max(round(side_px / MULTIPLE_PX), 1) * MULTIPLE_PX


def crops(
    width_px: int,
    height_px: int,
    faces_px: Sequence[BoxPx],
    buckets: Sequence[tuple[int, int]],
    count: int,
    rng: np.random.Generator,
    enlarge: bool = False,
) -> tuple[Crop, ...]:
    """Up to `count` different cuts that keep every face; the first shows as much of the photo as a bucket can.

    faces_px  boxes of the chosen faces, at least one; what lies outside the photo does not count
    buckets   of `bucket_sizes`
    enlarge   whether a photo may be scaled up beyond 1.25

    None where the faces stand too far apart for every bucket, or the photo is too small for all.
    """
    for margin in (MARGIN, 0.0):
        kept_px = _union(faces_px, width_px, height_px, margin)
        fitting = [
            frame
            for width, height in buckets
            if (frame := _frame(width_px, height_px, kept_px, width, height, enlarge)) is not None
        ]
        if fitting:
            break
    else:
        return ()
    widest = max(fitting, key=lambda frame: (frame.area, frame.width_px))
    found = [widest.cut(kept_px, width_px, height_px, 1.0, (0.5, 0.5))]
    for _ in range(count - 1):
        frame = fitting[int(rng.integers(len(fitting)))]
        scale, x, y = rng.random(3)
        found.append(frame.cut(kept_px, width_px, height_px, float(scale), (float(x), float(y))))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class _Frame:
    """The smallest and largest cut of one bucket, by width in pixels of the photo."""

    width_px: int
    height_px: int
    least: float
    most: float

    @property
    def area(self) -> float:
        """Area of the largest cut in square pixels."""
        return self.most * self.most * self.height_px / self.width_px

    def cut(self, kept_px: BoxPx, width_px: int, height_px: int, scale: float, place: tuple[float, float]) -> Crop:
        """A cut between smallest (0) and largest (1), at a place (0..1 across and down) that keeps the faces."""
        wide = self.least + (self.most - self.least) * scale
        high = wide * self.height_px / self.width_px
        x = _start(kept_px[0], kept_px[2], wide, width_px, place[0])
        y = _start(kept_px[1], kept_px[3], high, height_px, place[1])
        # Rounding may carry the far edge past the photo by a hair, which resizing refuses.
        return Crop((x, y, min(x + wide, width_px), min(y + high, height_px)), self.width_px, self.height_px)


def _frame(
    photo_width_px: int, photo_height_px: int, kept_px: BoxPx, width_px: int, height_px: int, enlarge: bool
) -> _Frame | None:
    ratio = width_px / height_px
    most = min(photo_width_px, photo_height_px * ratio)
    least = max(kept_px[2] - kept_px[0], (kept_px[3] - kept_px[1]) * ratio)
    if not enlarge:
        least = max(least, width_px / ENLARGED_AT_MOST)
    return _Frame(width_px, height_px, min(least, most), most) if least <= most + SLACK_PX else None


def _start(low: float, high: float, length: float, whole: float, place: float) -> float:
    first, last = max(high - length, 0.0), min(low, whole - length)
    return max(first + (last - first) * place, 0.0)


def _union(faces_px: Sequence[BoxPx], width_px: int, height_px: int, margin: float) -> BoxPx:
    boxes = np.array(faces_px, np.float64)
    sides = (boxes[:, 2:] - boxes[:, :2]) * margin
    x1, y1 = np.maximum((boxes[:, :2] - sides).min(axis=0), 0.0).tolist()
    x2, y2 = np.minimum((boxes[:, 2:] + sides).max(axis=0), (width_px, height_px)).tolist()
    return x1, y1, x2, y2
