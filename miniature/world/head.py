"""The shape of a head and where its points are seen: features lie on an ellipsoid that turns.

Head coordinates: x to the viewer's right, y down, eyes near y = 0, chin at y = 1, hairline near y = -0.6.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .curves import Points, smooth
from .look import Look
from .person import Person

_DEPTH = 0.62
_MIDDLE = 0.02
SKULL_TOP = -0.9


@dataclass(frozen=True, eq=False)
class Head:
    """A person's head in a look, at a place of the canvas.

    scale_px: pixels of one head unit. origin_px: float [2], where the head's (0, 0) would be seen straight on.
    """

    person: Person
    look: Look
    scale_px: float = 1.0
    origin_px: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def half_width(self) -> float:
        """Half of the face's width at the cheeks."""
        return self.person.between("face_width", 0.72, 0.86)

    @cached_property
    def hairline(self) -> float:
        """y of the hair's edge above the forehead's middle."""
        return -0.6

    @cached_property
    def _turn(self) -> tuple[float, float, float, float]:
        yaw, pitch = np.deg2rad([self.look.yaw, self.look.pitch])
        return float(np.cos(yaw)), float(np.sin(yaw)), float(np.cos(pitch)), float(np.sin(pitch))

    @cached_property
    def _roll(self) -> np.ndarray:
        angle = np.deg2rad(self.look.roll)
        return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def at(self, points: Points, lift: float | np.ndarray = 0.0, depth: float | None = None) -> Points:
        """Points of the face's surface [N, 2] as seen, in pixels; `lift` raises them, `depth` replaces the surface."""
        points = np.asarray(points, float)
        x, y = points[:, 0], points[:, 1] - _MIDDLE
        if depth is None:
            flat = 1 - (x / (self.half_width * 1.04)) ** 2 - (y / 1.06) ** 2
            z = _DEPTH * np.sqrt(np.maximum(flat, 0)) + lift
        else:
            z = np.full(len(points), depth)
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._turn
        seen = np.empty((len(points), 2))
        seen[:, 0] = x * cos_yaw + z * sin_yaw
        seen[:, 1] = y * cos_pitch - (z * cos_yaw - x * sin_yaw) * sin_pitch + _MIDDLE
        return self.on_canvas(seen)

    def on_canvas(self, points: Points) -> Points:
        """Head coordinates in the image's plane [N, 2] to pixels: roll, scale and place."""
        return (np.asarray(points, float) @ self._roll) * self.scale_px + self.origin_px

    def silhouette(self, points: Points) -> Points:
        """Points on the head's rim [N, 2] to the image's plane; the chin goes where the face looks, the top back."""
        points = np.asarray(points, float)
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._turn
        narrow = np.sqrt(cos_yaw**2 + (0.74 / self.half_width) ** 2 * sin_yaw**2)
        forward = 0.2 * np.clip((points[:, 1] + 0.35) / 1.3, -0.5, 1) * sin_yaw
        x = points[:, 0] * narrow + forward
        y = points[:, 1] * (1 - 0.35 * (1 - cos_pitch)) - 0.10 * sin_pitch
        return np.stack([x, y], 1)

    @cached_property
    def rim(self) -> Points:
        """The head without hair and ears, closed, in head coordinates of the front view [N, 2]."""
        a = self.half_width
        jaw, chin = self.person.between("jaw", 0.66, 0.9), 0.37
        right = [
            (0.5 * a, SKULL_TOP + 0.07),
            (0.88 * a, -0.55),
            (a, -0.12),
            (0.97 * a, 0.28),
            (jaw * a, 0.64),
            (chin * a, 0.93),
        ]
        left = [(-x, y) for x, y in reversed(right)]
        return smooth([(0, SKULL_TOP), *right, (0, 1.0), *left])

    @cached_property
    def outline(self) -> Points:
        """The rim as seen, in pixels [N, 2]."""
        return self.on_canvas(self.silhouette(self.rim))

    @cached_property
    def box(self) -> np.ndarray:
        """(x1, y1, x2, y2) in pixels: hairline to chin, cheek to cheek."""
        face = self.outline[self.rim[:, 1] >= self.hairline]
        return np.concatenate([face.min(0), face.max(0)])

    @property
    def aspect(self) -> float:
        """Width of the box / its height."""
        left, top, right, bottom = self.box
        return float((right - left) / (bottom - top))


def head_in(person: Person, look: Look, center_px: tuple[float, float], box_height_px: float) -> Head:
    """The head whose box has this center and height."""
    left, top, right, bottom = Head(person, look).box
    scale = box_height_px / (bottom - top)
    origin = (center_px[0] - scale * (left + right) / 2, center_px[1] - scale * (top + bottom) / 2)
    return Head(person, look, float(scale), (float(origin[0]), float(origin[1])))
