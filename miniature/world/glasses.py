"""Glasses, which belong to the person as much as a nose does."""

import numpy as np

from . import colors
from .brush import Brush
from .curves import ellipse, ribbon, smooth
from .expression import expression_of
from .eyes import eye_shapes
from .head import Head
from .person import Person

_FRAMES = np.array([[44.0, 38.0, 46.0], [196.0, 40.0, 44.0], [214.0, 158.0, 44.0], [36.0, 84.0, 160.0]])
_WORN = 0.4  # of the trait
_WIDE, _HIGH, _THICK = 0.285, 0.265, 0.065


def wears_glasses(person: Person) -> bool:
    """Whether the person is always seen with them."""
    return person["glasses"] > _WORN


def draw_glasses(brush: Brush, head: Head) -> None:
    """Round glasses in one of four colors, for those who wear any."""
    if not wears_glasses(head.person):
        return
    color = _FRAMES[min(int(head.person.between("glasses_hue", 0, len(_FRAMES))), len(_FRAMES) - 1)]
    left, right = eye_shapes(head, expression_of(head.look))
    for eye in (left, right):
        rim = ellipse(eye.x, eye.y + 0.02, _WIDE, _HIGH, 28)
        brush.fill(head.at(rim, lift=0.08), colors.WHITE, 0.16)
        seen = head.at(np.concatenate([rim, rim[:2]]), lift=0.08)
        brush.fill(ribbon(seen, _THICK * head.scale_px), color)
    bridge = smooth([(left.x + _WIDE, left.y), (0, left.y - 0.05), (right.x - _WIDE, right.y)], closed=False)
    brush.fill(ribbon(head.at(bridge, lift=0.12), _THICK * head.scale_px), color)
    for eye in (left, right):
        if eye.side * head.look.yaw < 14:
            arm = head.at(np.array([(eye.x + eye.side * _WIDE, eye.y - 0.02)]), lift=0.08)
            ear = head.at(np.array([(eye.side * head.half_width, eye.y)]), depth=0.0)
            brush.fill(ribbon(np.concatenate([arm, ear]), _THICK * head.scale_px), color)
