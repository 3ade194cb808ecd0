"""How far two faces are apart in pose, expression and light: one laid over the other, and what is left between them.

Detectors' landmarks stray by more than a copy differs from its photo, so the two are first registered: turned, scaled
and shifted until their features correlate best (Lucas and Kanade 1981, by inverse composition: Baker and Matthews,
"Lucas-Kanade 20 Years On", 2004; on normalized correlation: Evangelidis and Psarakis, "Parametric Image Alignment using
Enhanced Correlation Coefficient Maximization", 2008). What is left is measured where edges are: the shift of each
window of the one that makes it fit the other. Light, contrast and sharpness change how strong edges are, not where.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..faces.alignment import TEMPLATE_PX
from .appearance import HEAD, LOOK_PX, Look

# Lengths are pixels of a look unless said otherwise.
ARCFACE_PX = HEAD.width_px / LOOK_PX  # pixels of ArcFace's 112-pixel crop in one of a look
CLOSEST_PX, FARTHEST_PX = 0.05, 8.0  # of that crop: what lies outside cannot be told from these
COARSE, FINE = (2.0, 6.0), (0.5, 5.0)  # bands of detail, registered one after the other
STEPS, ENOUGH_PX = 15, 0.01
MOST_TURN, MOST_SHIFT_PX = 0.4, 8.0
WINDOW_PX = 3.0
AGREEING = 0.8  # correlation of two windows from which they show the same hair, ear or jaw
GAIN = 0.4, 2.5  # contrast of the one against the other
FLAT, STRONGEST = 0.1, 3.0  # of the mean strength of edges: what leaves a shift unsure, and the most that counts
# Light of one color is evidence of a copy and light of another none against it: a pasted face may be relit. So
# much that features of the same tint count as if they lay 0.61 times as far apart.
SAME_TINT, OTHER_TINT, TINT_WEIGHT = 0.01, 0.12, 0.2
MOST_COMPARED = 8  # photos, those that agree best as they are: more take time and are no copy's
EVERY = 2  # windows overlap, so every second one says as much
# Brows to mouth in ArcFace's crop, clockwise: no background comes in, however far the head is turned.
FEATURES_PX = np.array([(30, 38), (82, 38), (82, 60), (72, 104), (40, 104), (30, 60)], np.float64)
HEAD_RADII_PX = 27.0, 29.0
TINY = 1e-6


@dataclass(frozen=True, eq=False)
class _Areas:
    """What is compared of a look.

    features  bool [64, 64]
    head      bool [64, 64]: hair, ears and jaw around them
    middle    x, y that a registration turns about
    from_middle  float32 [2, n]: from there to each pixel of the features
    """

    features: np.ndarray
    head: np.ndarray
    middle: np.ndarray
    from_middle: np.ndarray


@lru_cache(1)
def _areas() -> _Areas:
    at = np.mgrid[:LOOK_PX, :LOOK_PX][::-1].astype(np.float64)
    corners = (FEATURES_PX + HEAD.points_px[0] - TEMPLATE_PX[0]) / ARCFACE_PX
    sides = np.roll(corners, -1, axis=0) - corners
    inside = [
        along * (at[1] - y) - down * (at[0] - x) >= 0 for (along, down), (x, y) in zip(sides, corners, strict=True)
    ]
    features = np.all(inside, axis=0)
    half = (LOOK_PX - 1) / 2
    head = ((at[0] - half) / HEAD_RADII_PX[0]) ** 2 + ((at[1] - half) / HEAD_RADII_PX[1]) ** 2 < 1
    middle = at[:, features].mean(axis=1)
    return _Areas(features, head, middle, (at[:, features] - middle[:, None]).astype(np.float32))


class Reference:
    """A photo's look, prepared once for many faces to be laid over it."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def apart_px(self, look: Look) -> float:
        """How far features of the face lie from the photo's once it is laid over it, in pixels of ArcFace's crop.

        Less where the light has the same color. Between CLOSEST_PX and FARTHEST_PX; the latter where either face
        shows nothing.
        """
        placed = np.zeros(4)
        for band, target in ((COARSE, self._coarse), (FINE, self._fine)):
            placed = target.register(_band(look.gray, band), placed)
        left = ARCFACE_PX * self._windows.left_of(_warped(_band(look.gray, FINE), placed))
        tint = float(np.clip(np.linalg.norm(look.tint - self._look.tint), SAME_TINT, OTHER_TINT))
        return float(np.clip(left * (tint / OTHER_TINT) ** TINT_WEIGHT, CLOSEST_PX, FARTHEST_PX))

    @cached_property
    def _coarse(self) -> "_Target":
        return _Target(_band(self._look.gray, COARSE))

    @cached_property
    def _fine(self) -> "_Target":
        return _Target(_band(self._look.gray, FINE))

    @cached_property
    def _windows(self) -> "_Windows":
        return _Windows(_band(self._look.gray, FINE))


class Album:
    """All photos of one person that a face may be a copy of."""

    def __init__(self, looks: Sequence[Look]) -> None:
        """Of at least one photo."""
        self._looks = tuple(looks)
        self._references = [Reference(look) for look in looks]
        self._rough = np.stack([_rough(look) for look in looks])

    def nearest(self, look: Look, but: int | None = None) -> tuple[int, float]:
        """Place of the photo that the face is nearest to, and how far it is apart. `but` is left out."""
        order = np.argsort(-(self._rough @ _rough(look)), kind="stable")
        asked = [int(photo) for photo in order if photo != but][:MOST_COMPARED]
        apart = [self._references[photo].apart_px(look) for photo in asked]
        best = int(np.argmin(apart))
        return asked[best], apart[best]

    def own_px(self) -> np.ndarray:
        """float64 [photos]: of each photo how far the nearest other one is apart; empty for a single photo."""
        count = len(self._looks)
        return np.array([self.nearest(self._looks[photo], photo)[1] for photo in range(count if count > 1 else 0)])


class _Target:
    """What another look's features are registered with."""

    def __init__(self, band: np.ndarray) -> None:
        areas = _areas()
        length = np.linalg.norm(band[areas.features] - band[areas.features].mean()) + TINY
        self._unit = _unit(band[areas.features])
        x, y = (each[areas.features] / length for each in _gradient(band))
        u, v = areas.from_middle
        slopes = np.stack([x * u + y * v, y * u - x * v, x, y], axis=1)
        slopes -= slopes.mean(axis=0)
        self._slopes = slopes - self._unit[:, None] * (self._unit @ slopes)
        products = self._slopes.T @ self._slopes
        self._inverse = np.linalg.inv(products + (TINY * np.trace(products) + TINY) * np.eye(4))

    def register(self, band: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Stretch, turn and shift (a, b, x, y) that lay the other look over this one, as near as can be."""
        best, highest, placed = start, -np.inf, start
        for _ in range(STEPS):
            seen = _unit(_warped(band, placed)[_areas().features])
            correlation = float(seen @ self._unit)
            if correlation > highest:
                best, highest = placed, correlation
            step = self._inverse @ (self._slopes.T @ (seen / max(correlation, 0.2) - self._unit))
            placed = _composed(placed, step)
            is_lost = np.abs(placed[:2]).max() > MOST_TURN or np.abs(placed[2:]).max() > MOST_SHIFT_PX
            if is_lost or np.abs(step * (20, 20, 1, 1)).max() < ENOUGH_PX:
                break
        return best


class _Windows:
    """The windows of a look, each with what says where its edges are."""

    def __init__(self, band: np.ndarray) -> None:
        x, y = _gradient(band)
        self._band, self._x, self._y = band, x, y
        self._mean, square, self._xx, self._xy, self._yy = _averaged(band, band * band, x * x, x * y, y * y)
        self._variance = square - self._mean**2

    def left_of(self, other: np.ndarray) -> float:
        """Root mean square of the shifts of the registered other look's windows, less a turn, stretch and shift of all.

        Infinite where this look has no edges.
        """
        mean, square, product = _averaged(other, other * other, other * self._band)
        variance, common = square - mean**2, product - mean * self._mean
        strength = self._xx + self._yy
        usual = float(strength[_areas().features].mean())
        if usual < TINY or float(variance[_areas().features].mean()) < TINY:
            return np.inf
        gain = np.clip(common / np.maximum(variance, TINY), *GAIN)
        off = gain * (other - mean) - (self._band - self._mean)
        shift = self._shifts(off, FLAT * usual)
        agreeing = common > AGREEING * np.sqrt(np.maximum(variance * self._variance, TINY))
        counted = _areas().features | (_areas().head & agreeing)
        return _unexplained(shift, np.where(counted, np.minimum(strength, STRONGEST * usual), 0.0))

    def _shifts(self, off: np.ndarray, unsure: float) -> np.ndarray:
        """float [2, 64, 64]: of each window the shift that explains the difference best."""
        along_x, along_y = _averaged(self._x * off, self._y * off)
        xx, yy = self._xx + unsure, self._yy + unsure
        determinant = xx * yy - self._xy**2
        return np.stack([yy * along_x - self._xy * along_y, xx * along_y - self._xy * along_x]) / determinant


def _unexplained(shift: np.ndarray, weight: np.ndarray) -> float:
    """Weighted root mean square of shifts [2, 64, 64] after the best common turn, stretch and shift is taken away."""
    at = np.mgrid[:LOOK_PX:EVERY, :LOOK_PX:EVERY][::-1].reshape(2, -1) / LOOK_PX - 0.5
    shift, weight = shift[:, ::EVERY, ::EVERY].reshape(2, -1), weight[::EVERY, ::EVERY].ravel()
    (x, y), one, zero = at, np.ones(at.shape[1]), np.zeros(at.shape[1])
    root = np.sqrt(np.tile(weight, 2))
    common = np.stack([np.r_[x, y], np.r_[-y, x], np.r_[one, zero], np.r_[zero, one]], axis=1) * root[:, None]
    wanted = shift.ravel() * root
    products = common.T @ common
    solved = np.linalg.solve(products + TINY * np.trace(products) * np.eye(4), common.T @ wanted)
    return float(np.linalg.norm(wanted - common @ solved) / np.sqrt(weight.sum()))


def _band(look: np.ndarray, sigmas: tuple[float, float]) -> np.ndarray:
    """float32 [64, 64]: details between two sizes."""
    import cv2

    fine, coarse = (cv2.GaussianBlur(look.astype(np.float32), (0, 0), sigma) for sigma in sigmas)
    return fine - coarse


def _rough(look: Look) -> np.ndarray:
    """float32 [n], of length 1: the features as the landmarks have them."""
    return _unit(_band(look.gray, COARSE)[_areas().features])


def _averaged(*images: np.ndarray) -> list[np.ndarray]:
    """Each averaged over windows."""
    import cv2

    return [cv2.GaussianBlur(image, (0, 0), WINDOW_PX) for image in images]


def _gradient(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    return cv2.Sobel(band, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(band, cv2.CV_32F, 0, 1, scale=1 / 8)


def _unit(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    return centred / (np.linalg.norm(centred) + TINY)


def _matrix(placed: np.ndarray) -> np.ndarray:
    """float64 [3, 3] of a stretch, turn and shift about the middle."""
    a, b, x, y = placed
    linear = np.array([[1 + a, -b], [b, 1 + a]])
    middle = _areas().middle
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, middle + np.array([x, y]) - linear @ middle
    return matrix


def _composed(placed: np.ndarray, step: np.ndarray) -> np.ndarray:
    """`placed` after the inverse of `step`."""
    matrix = _matrix(placed) @ np.linalg.inv(_matrix(step))
    middle = _areas().middle
    x, y = matrix[:2, :2] @ middle + matrix[:2, 2] - middle
    return np.array([matrix[0, 0] - 1, matrix[1, 0], x, y])


def _warped(band: np.ndarray, placed: np.ndarray) -> np.ndarray:
    import cv2

    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = LOOK_PX, LOOK_PX
    return cv2.warpAffine(band, _matrix(placed)[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
