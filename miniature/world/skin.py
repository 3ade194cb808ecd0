"""The bare head: face, ears and nose."""

import numpy as np

from . import colors
from .brush import Brush
from .curves import Points, ellipse, ribbon, smooth, taper
from .expression import expression_of
from .eyes import eye_shapes
from .head import Head
from .light import Light

_ROSE = np.array([232.0, 92.0, 92.0])
_TIP_LIFT = 0.14
_BLUSH = 0.3
_EAR = 0.185
_NOSE_LENGTH = 0.34


def nose_tip(head: Head) -> Points:
    """Where the tip of the nose is seen, in pixels [2]."""
    return head.at(np.array([(0, _NOSE_LENGTH)]), lift=_TIP_LIFT)[0]


def draw_ears(brush: Brush, head: Head, in_front: bool) -> None:
    """The ears that show in front of the turned head, or those that stand out behind it."""
    skin, size = colors.skin(head.person), _EAR
    for side in (-1, 1):
        if in_front != (side * head.look.yaw < -14):
            continue
        ear = ellipse(side * (head.half_width + 0.02), 0.08, size * 0.6, size)
        inner = ellipse(side * (head.half_width + 0.04), 0.09, size * 0.3, size * 0.58)
        brush.fill(head.at(ear, depth=-0.06), colors.shade(skin, 0.12))
        brush.fill(head.at(inner, depth=-0.06), colors.shade(skin, 0.5), 0.8)


def draw_face(brush: Brush, head: Head, light: Light) -> None:
    """The skin with its shading and blush."""
    skin = colors.skin(head.person)
    brush.fill(head.outline, skin)
    light.shade(brush, head.outline, 0.5 * (head.outline.min(0) + head.outline.max(0)), head.scale_px * 0.95)
    for side in (-1, 1):
        cheek = head.at(ellipse(side * 0.46 * head.half_width / 0.79, 0.36, 0.17, 0.12))
        brush.mist(cheek, colors.mix(skin, _ROSE, 0.75), _BLUSH, head.scale_px * 0.06)


def draw_nose(brush: Brush, head: Head) -> None:
    """Bridge, wings and tip; the tip stands out, so that a turned head shows it in profile."""
    person, skin = head.person, colors.skin(head.person)
    y, wide = _NOSE_LENGTH, person.between("nose_width", 0.085, 0.19)
    eye = eye_shapes(head, expression_of(head.look))[0].y
    side = 1 if head.look.yaw >= 0 else -1
    shape = [
        (side * 0.06, eye, 0.0),
        (side * wide * 0.55, y - 0.1, 0.1),
        (side * wide, y + 0.01, 0.03),
        (side * wide * 0.5, y + 0.07, 0.04),
        (0, y + 0.09, 0.09),
        (-side * wide * 0.5, y + 0.07, 0.04),
        (-side * wide, y + 0.01, 0.03),
        (0, y - 0.06, _TIP_LIFT),
    ]
    curve = smooth([(x, y) for x, y, _ in shape])
    lift = smooth([(z, z) for _, _, z in shape])[:, 0]
    brush.fill(head.at(curve, lift=lift), colors.shade(skin, 0.45), 0.55)
    base = np.array(
        [
            (-wide, y + 0.0),
            (-wide * 0.75, y + 0.07),
            (-wide * 0.3, y + 0.065),
            (0, y + 0.095),
            (wide * 0.3, y + 0.065),
            (wide * 0.75, y + 0.07),
            (wide, y + 0.0),
        ]
    )
    line = smooth(base, closed=False, samples=3)
    lift = smooth([(z, z) for z in (0.03, 0.04, 0.07, 0.1, 0.07, 0.04, 0.03)], closed=False, samples=3)
    spine = head.at(line, lift=lift[:, 0])
    brush.fill(ribbon(spine, taper(len(spine), 0.05 * head.scale_px)), colors.shade(skin, 1.0), 0.9)
    brush.fill(
        head.at(ellipse(-side * 0.02, y - 0.01, 0.035 + 0.1 * wide, 0.035, 12), lift=_TIP_LIFT),
        colors.mix(skin, colors.WHITE, 0.5),
        0.75,
    )
