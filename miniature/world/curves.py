"""Smooth outlines from a few points; all points are float [N, 2], x to the right and y down."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Points = np.ndarray


@lru_cache(maxsize=32)
def _spline(samples: int) -> np.ndarray:
    """Catmull-Rom weights of the four points around each sample, [samples, 4]."""
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    weights = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    return np.concatenate(weights, 1) / 2


def smooth(points: Sequence | Points, closed: bool = True, samples: int = 6) -> Points:
    """A Catmull-Rom curve through the points, `samples` points a span; an open one ends in its last point."""
    given = np.asarray(points, float)
    if closed:
        around = np.stack([np.roll(given, shift, 0) for shift in (1, 0, -1, -2)])
    else:
        padded = np.concatenate([given[:1], given, given[-1:]])
        around = np.stack([padded[i : i + len(given) - 1] for i in range(4)])
    curve = np.einsum("sk,knd->nsd", _spline(samples), around).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, given[-1:]])


@lru_cache(maxsize=32)
def _circle(count: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def ellipse(x: float, y: float, width: float, height: float, count: int = 20, squareness: float = 0.0) -> Points:
    """An ellipse of these half axes; squareness 0 to 1 takes it towards a rectangle with round corners."""
    unit = _circle(count)
    if squareness:
        unit = np.sign(unit) * np.abs(unit) ** (1 - 0.55 * squareness)
    return unit * (width, height) + (x, y)


def ribbon(points: Sequence | Points, widths: Sequence[float] | np.ndarray | float) -> Points:
    """The outline of a line through the points that is widths[i] wide at the i-th point."""
    spine = np.asarray(points, float)
    along = np.empty_like(spine)
    along[1:-1] = spine[2:] - spine[:-2]
    along[0], along[-1] = spine[1] - spine[0], spine[-1] - spine[-2]
    half = 0.5 * np.asarray(widths, float) / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    across = along[:, ::-1] * (-1, 1) * half[:, None]
    return np.concatenate([spine + across, (spine - across)[::-1]])


def taper(count: int, width: float, ends: float = 0.25) -> np.ndarray:
    """Widths for a ribbon: `width` in the middle, `ends` times that at both ends."""
    return width * (ends + (1 - ends) * np.sin(np.linspace(0, np.pi, count)))
