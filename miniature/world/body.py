"""Neck, shoulders and clothes."""

import numpy as np

from . import colors
from .brush import Brush
from .curves import Points, ellipse, ribbon, smooth
from .head import Head
from .light import Light

_SHOULDER = [(0.3, 1.1), (0.62, 1.22), (1.12, 1.36), (1.36, 1.7), (1.45, 2.6), (1.5, 5.0)]


def draw_body(brush: Brush, head: Head, light: Light) -> None:
    """Everything below the head; it stands straight whatever the head does."""
    sway = -0.06 * np.sin(np.deg2rad(head.look.yaw))

    def at(points: Points) -> Points:
        return (np.asarray(points, float) + np.array([sway, 0])) * head.scale_px + head.origin_px

    skin, cloth = colors.skin(head.person), colors.clothes(head.look.clothes)
    right = np.array(_SHOULDER)
    trunk = at(smooth(np.concatenate([right, right[::-1] * (-1, 1)])))
    brush.fill(trunk, cloth)
    light.shade(
        brush, trunk[trunk[:, 1] < head.origin_px[1] + 3 * head.scale_px], at([(0, 2.1)])[0], 1.6 * head.scale_px
    )
    wide = 0.36 * head.half_width / 0.79
    neck = [(-wide, 0.6), (-wide, 1.05), (-wide - 0.16, 1.2), (0, 1.48), (wide + 0.16, 1.2), (wide, 1.05), (wide, 0.6)]
    brush.fill(at(ribbon(smooth(neck[1:-1], closed=False), 0.12)), colors.mix(cloth, colors.WHITE, 0.25))
    brush.fill(at(smooth(neck)), colors.shade(skin, 0.18))
    brush.fill(at(ellipse(0, 0.93, wide * 1.02, 0.3)), colors.shade(skin, 0.75), 0.85)
