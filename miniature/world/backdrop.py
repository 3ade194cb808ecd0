"""Places behind the people, each with its own things in seeded spots."""

from collections.abc import Callable

import cv2
import numpy as np

from .brush import Brush
from .curves import Points, ellipse, smooth
from .scene import STUDIO

_BLUR = 0.022  # of the shorter side, standard deviation: a portrait lens, and less for a small model to learn
_Rgb = tuple[float, float, float]


def draw_backdrop(place: str, seed: int, width: int, height: int) -> np.ndarray:
    """The place, uint8 RGB [height, width, 3]; the same seed puts the same things at the same fractions of it."""
    rng = np.random.default_rng(seed)
    canvas = _Canvas(width, height)
    _PLACES[place](canvas, rng)
    return cv2.GaussianBlur(canvas.brush.canvas_px, (0, 0), _BLUR * min(width, height))


class _Canvas:
    """A canvas whose coordinates are fractions of the image."""

    def __init__(self, width: int, height: int) -> None:
        self.size = np.array([width, height], float)
        self.brush = Brush(np.zeros((height, width, 3), np.uint8))

    def sky(self, top: _Rgb, bottom: _Rgb) -> None:
        """A gradient over all of it."""
        rows = np.linspace(top, bottom, 32)[:, None].astype(np.float32)
        height, width = self.brush.canvas_px.shape[:2]
        self.brush.canvas_px[:] = cv2.resize(rows, (width, height), interpolation=cv2.INTER_LINEAR).reshape(
            height, width, 3
        )

    def fill(self, points: Points | list, color: _Rgb | np.ndarray, strength: float = 1.0) -> None:
        self.brush.fill(np.asarray(points, float) * self.size, color, strength)

    def box(self, x1: float, y1: float, x2: float, y2: float, color: _Rgb | np.ndarray, strength: float = 1.0) -> None:
        self.fill([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], color, strength)

    def disc(self, x: float, y: float, radius: float, color: _Rgb | np.ndarray, strength: float = 1.0) -> None:
        across = radius * self.size.min() / self.size
        self.fill(ellipse(x, y, across[0], across[1], 24), color, strength)

    def hill(self, y: float, swing: float, color: _Rgb, rng: np.random.Generator) -> None:
        ridge = smooth([(x, y + rng.uniform(-swing, swing)) for x in np.linspace(-0.1, 1.1, 6)], closed=False)
        self.fill(np.concatenate([ridge, [(1.1, 1.1), (-0.1, 1.1)]]), color)


def _park(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.sky((140, 198, 232), (226, 240, 226))
    for _ in range(3):
        _cloud(canvas, rng.uniform(0, 1), rng.uniform(0.05, 0.25), rng.uniform(0.04, 0.08))
    canvas.hill(rng.uniform(0.4, 0.5), 0.04, (150, 192, 120), rng)
    for _ in range(int(rng.integers(3, 6))):
        x, y, size = rng.uniform(0, 1), rng.uniform(0.26, 0.42), rng.uniform(0.09, 0.17)
        green = np.array([74.0, 134.0, 72.0]) * rng.uniform(0.8, 1.25)
        canvas.box(x - 0.018, y, x + 0.018, y + 0.3, (112, 80, 58))
        for dx, dy in ((-0.6, 0.2), (0.6, 0.2), (0.0, -0.3)):
            canvas.disc(x + dx * size, y + dy * size, size * 0.8, green)
        canvas.disc(x - 0.3 * size, y - 0.4 * size, size * 0.45, green * 1.15, 0.7)
    canvas.hill(rng.uniform(0.62, 0.7), 0.03, (112, 168, 88), rng)
    for _ in range(14):
        x, y = rng.uniform(0, 1), rng.uniform(0.75, 1)
        canvas.disc(x, y, 0.012, [(250, 236, 140), (246, 180, 190), (252, 250, 240)][rng.integers(3)])


def _cloud(canvas: _Canvas, x: float, y: float, size: float) -> None:
    for dx, dy, scale in ((-1, 0.2, 0.7), (0, 0, 1.0), (1, 0.2, 0.75)):
        canvas.disc(x + dx * size, y + dy * size, size * scale, (252, 252, 248), 0.85)


def _beach(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.sky((120, 204, 232), (238, 244, 228))
    for _ in range(2):
        _cloud(canvas, rng.uniform(0, 1), rng.uniform(0.06, 0.2), rng.uniform(0.04, 0.07))
    horizon = rng.uniform(0.36, 0.44)
    canvas.box(0, horizon, 1, 1, (44, 142, 176))
    canvas.box(0, horizon + 0.1, 1, 1, (78, 180, 194))
    x = rng.uniform(0.1, 0.9)
    canvas.fill(
        [(x - 0.05, horizon), (x + 0.05, horizon), (x + 0.035, horizon + 0.025), (x - 0.035, horizon + 0.025)],
        (150, 70, 60),
    )
    canvas.fill([(x, horizon - 0.11), (x + 0.05, horizon - 0.01), (x, horizon - 0.01)], (250, 246, 236))
    canvas.hill(horizon + 0.2, 0.015, (250, 246, 232), rng)
    canvas.hill(horizon + 0.235, 0.02, (240, 214, 158), rng)
    x, color = rng.choice([0.08, 0.92]), [(226, 86, 74), (244, 180, 62), (70, 130, 190)][rng.integers(3)]
    canvas.box(x - 0.008, 0.3, x + 0.008, 0.9, (246, 238, 224))
    canvas.fill(
        smooth([(x - 0.24, 0.36), (x - 0.14, 0.23), (x, 0.19), (x + 0.14, 0.23), (x + 0.24, 0.36), (x, 0.33)]), color
    )
    canvas.fill(
        smooth([(x - 0.08, 0.34), (x - 0.04, 0.23), (x, 0.19), (x + 0.04, 0.23), (x + 0.08, 0.34)]), (252, 244, 230)
    )


def _city(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.sky((176, 190, 216), (240, 222, 206))
    for row, (base, tone) in enumerate(((0.12, (166, 170, 196)), (0.28, (120, 122, 156)))):
        x = rng.uniform(-0.1, 0)
        while x < 1:
            wide, top = rng.uniform(0.12, 0.22), base + rng.uniform(0, 0.22)
            color = np.array(tone, float) * rng.uniform(0.88, 1.1)
            canvas.box(x, top, x + wide, 1, color)
            if row:
                for i in range(2, 9, 2):
                    for j in (0.22, 0.6):
                        if rng.random() < 0.75:
                            y = top + 0.03 * i
                            canvas.box(x + j * wide, y, x + (j + 0.2) * wide, y + 0.035, (255, 226, 150))
            x += wide + rng.uniform(0, 0.02)
    canvas.box(0, 0.86, 1, 1, (92, 90, 108))
    canvas.box(0, 0.85, 1, 0.875, (190, 186, 190))


def _room(canvas: _Canvas, rng: np.random.Generator) -> None:
    wall = np.array([(226, 186, 150), (196, 206, 176), (216, 178, 176), (206, 196, 216)][rng.integers(4)], float)
    canvas.sky(tuple(wall * 1.06), tuple(wall * 0.94))
    for x in np.arange(rng.uniform(0, 0.1), 1, 0.14):
        canvas.box(x, 0, x + 0.05, 0.8, wall * 0.96)
    x = rng.uniform(0.05, 0.5)
    canvas.box(x, 0.06, x + 0.4, 0.46, (250, 244, 232))
    canvas.box(x + 0.025, 0.085, x + 0.375, 0.435, (170, 212, 232))
    canvas.box(x + 0.19, 0.085, x + 0.21, 0.435, (250, 244, 232))
    left = x > 0.27
    x = 0.12 if left else 0.86
    canvas.box(x - 0.09, 0.14, x + 0.09, 0.36, (126, 86, 62))
    canvas.box(x - 0.07, 0.165, x + 0.07, 0.335, [(240, 206, 140), (150, 186, 170), (220, 140, 120)][rng.integers(3)])
    canvas.disc(x, 0.26, 0.04, (250, 240, 220))
    canvas.box(0, 0.8, 1, 1, (150, 104, 76))
    canvas.box(0, 0.78, 1, 0.81, (246, 236, 220))
    x = 0.92 if left else 0.08
    for angle in np.linspace(-1.1, 1.1, 5):
        tip = (x + 0.17 * np.sin(angle), 0.68 - 0.24 * np.cos(angle))
        middle = (x + 0.04 * np.sin(angle) + 0.03, 0.6 - 0.08 * np.cos(angle))
        canvas.fill(smooth([(x - 0.01, 0.72), (middle[0] - 0.06, middle[1]), tip, middle]), (84, 142, 92))
    canvas.fill([(x - 0.07, 0.7), (x + 0.07, 0.7), (x + 0.05, 0.86), (x - 0.05, 0.86)], (204, 106, 74))


def _stage(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.sky((70, 28, 52), (116, 40, 60))
    for x in np.arange(rng.uniform(-0.08, 0), 1.05, 0.11):
        canvas.fill(
            smooth([(x, -0.1), (x + 0.05, -0.1), (x + 0.06, 0.5), (x + 0.05, 1.0), (x, 1.0), (x + 0.015, 0.5)]),
            (158, 48, 66),
        )
    for i in range(2):
        x, foot = rng.uniform(0.1, 0.4) + 0.5 * i, rng.uniform(0.2, 0.8)
        canvas.fill([(x - 0.02, -0.02), (x + 0.02, -0.02), (foot + 0.2, 0.9), (foot - 0.2, 0.9)], (255, 236, 190), 0.2)
    for x in np.linspace(0.06, 0.94, 8):
        canvas.disc(x, 0.05 + 0.012 * np.cos(9 * x), 0.018, (255, 222, 130))
    canvas.box(0, 0.86, 1, 1, (128, 84, 62))
    for x in np.arange(0.02, 1, 0.12):
        canvas.box(x, 0.86, x + 0.006, 1, (98, 62, 48))


def _studio(canvas: _Canvas, rng: np.random.Generator) -> None:
    wall = np.array(
        [(238, 214, 184), (190, 214, 216), (226, 192, 186), (200, 206, 178), (214, 206, 226)][rng.integers(5)], float
    )
    canvas.sky(tuple(wall * 1.04), tuple(wall * 0.9))
    canvas.disc(0.5, rng.uniform(0.4, 0.55), rng.uniform(0.36, 0.5), wall * 0.9 + 25, 0.7)


_PLACES: dict[str, Callable[[_Canvas, np.random.Generator], None]] = {
    "park": _park,
    "beach": _beach,
    "city": _city,
    "room": _room,
    "stage": _stage,
    STUDIO: _studio,
}
