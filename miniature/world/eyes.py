"""Eyes and brows."""

from dataclasses import dataclass

import numpy as np

from . import colors
from .brush import Brush
from .curves import Points, ellipse, ribbon, smooth
from .expression import Expression, expression_of
from .head import Head


@dataclass(frozen=True)
class EyeShape:
    """Head coordinates of one eye: center, half width and half height; tilt in radians, side -1 left or 1 right."""

    x: float
    y: float
    width: float
    height: float
    tilt: float
    side: int

    def place(self, points: Points) -> Points:
        """Eye coordinates (x to the temple, y down, from the center) to head coordinates."""
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        x, y = points[:, 0], points[:, 1]
        return np.stack([self.x + self.side * (x * cos + y * sin), self.y + y * cos - x * sin], 1)


def eye_shapes(head: Head, expression: Expression) -> tuple[EyeShape, EyeShape]:
    """Left and right eye as the viewer sees them."""
    person = head.person
    width = person.between("eye_size", 0.165, 0.235)
    x, y = 0.365 * head.half_width / 0.79, 0.015
    height = width * 0.85 * expression.eyes
    tilt = np.deg2rad(person.between("eye_tilt", -13, 13)) - 0.12 * max(expression.slant, 0)
    left, right = (EyeShape(side * x, y, width, height, tilt, side) for side in (-1, 1))
    return left, right


def eye_centers(head: Head) -> Points:
    """Where the two eyes are seen, in pixels [2, 2]."""
    return head.at(np.array([(eye.x, eye.y) for eye in eye_shapes(head, expression_of(head.look))]))


def draw_eyes(brush: Brush, head: Head) -> None:
    """Both eyes with lids, lashes and a glint."""
    for eye in eye_shapes(head, expression_of(head.look)):
        _draw_eye(brush, head, eye)


def draw_brows(brush: Brush, head: Head) -> None:
    """The brows, which go over a fringe: half of the expression is in them."""
    expression = expression_of(head.look)
    for eye in eye_shapes(head, expression):
        _draw_brow(brush, head, eye, expression)


def _lids(eye: EyeShape, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bow = np.sqrt(np.maximum(1 - (x / eye.width) ** 2, 0))
    return -eye.height * bow**0.9, 0.82 * eye.height * bow


def _draw_eye(brush: Brush, head: Head, eye: EyeShape) -> None:
    x = eye.width * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 13))
    upper, lower = (np.stack([x, lid], 1) for lid in _lids(eye, x))
    skin = colors.skin(head.person)
    brush.fill(head.at(eye.place(ellipse(0, -0.02, eye.width * 1.3, eye.height + 0.06))), colors.shade(skin), 0.35)
    brush.fill(head.at(eye.place(np.concatenate([upper, lower[::-1]]))), colors.WHITE)
    _draw_iris(brush, head, eye)
    lid = np.concatenate([upper[:-1], [(eye.width * 1.16, -0.25 * eye.height)]])
    brush.fill(head.at(eye.place(ribbon(lid, np.linspace(0.04, 0.075, len(lid))))), colors.INK)


def _draw_iris(brush: Brush, head: Head, eye: EyeShape) -> None:
    color = colors.iris(head.person)
    size = eye.width * 0.68
    aside = eye.side * 0.1 * np.sin(np.deg2rad(head.look.yaw)) * eye.width

    def inside(points: Points) -> Points:
        upper, lower = _lids(eye, points[:, 0])
        return head.at(eye.place(np.stack([points[:, 0], np.clip(points[:, 1], upper, lower)], 1)))

    brush.fill(inside(ellipse(aside, 0, size, size)), color)
    brush.fill(inside(ellipse(aside, 0, size * 0.46, size * 0.46)), colors.INK * 0.5)
    glint = ellipse(aside - eye.side * 0.32 * size, -0.36 * size, size * 0.3, size * 0.3, 10)
    brush.fill(inside(glint), colors.WHITE)


def _draw_brow(brush: Brush, head: Head, eye: EyeShape, expression: Expression) -> None:
    person = head.person
    thick = person.between("brow_thickness", 0.05, 0.15)
    arch, above = 0.035, 0.12 + expression.raised
    y = eye.y - eye.height / np.sqrt(expression.eyes) - above
    reach = eye.width * 1.25
    inner = (eye.x - eye.side * reach, y + 0.02 - 0.12 * expression.slant)
    middle = (eye.x + eye.side * 0.15 * reach, y - arch + 0.02 * expression.slant)
    outer = (eye.x + eye.side * reach, y + 0.05 + 0.09 * expression.slant)
    line = smooth([inner, middle, outer], closed=False, samples=5)
    color = colors.mix(colors.hair(person) * 0.8, colors.INK, 0.45)
    brush.fill(head.at(ribbon(line, np.linspace(1.1, 0.4, len(line)) * thick), lift=0.02), color)
