"""Glasses and hats."""

import numpy as np

from . import colours
from .brush import Brush
from .curves import ellipse, ribbon, smooth
from .eyes import eye_shapes
from .hair import volume
from .head import SKULL_TOP, Head
from .mood import mood_of

_FRAMES = np.array([[44.0, 38.0, 46.0], [166.0, 52.0, 52.0], [196.0, 148.0, 62.0], [46.0, 78.0, 120.0]])


def draw_glasses(brush: Brush, head: Head) -> None:
    """Round to square glasses with a sheen on the lenses."""
    wear = head.look.wear
    colour, square = _FRAMES[int(wear * 8) % 4], (wear * 4) % 1
    eyes = eye_shapes(head, mood_of(head.look))
    rims = []
    for eye in eyes:
        rim = ellipse(eye.x, eye.y + 0.02, 0.245, 0.215, 28, square)
        brush.fill(head.at(rim, lift=0.08), colours.WHITE, 0.16)
        sheen = smooth(
            [
                (eye.x - 0.13, eye.y + 0.05),
                (eye.x + 0.01, eye.y - 0.13),
                (eye.x + 0.06, eye.y - 0.13),
                (eye.x - 0.1, eye.y + 0.1),
            ]
        )
        brush.fill(head.at(sheen, lift=0.08), colours.WHITE, 0.4)
        seen = head.at(np.concatenate([rim, rim[:2]]), lift=0.08)
        brush.fill(ribbon(seen, 0.05 * head.scale_px), colour)
        rims.append(rim)
    left, right = eyes
    bridge = smooth([(left.x + 0.24, left.y), (0, left.y - 0.06), (right.x - 0.24, right.y)], closed=False)
    brush.fill(ribbon(head.at(bridge, lift=0.12), 0.045 * head.scale_px), colour)
    for eye in eyes:
        if eye.side * head.look.yaw < 14:
            arm = head.at(np.array([(eye.x + eye.side * 0.24, eye.y - 0.02)]), lift=0.08)
            ear = head.at(np.array([(eye.side * head.half_width, eye.y)]), depth=0.0)
            brush.fill(ribbon(np.concatenate([arm, ear]), 0.045 * head.scale_px), colour)


def draw_hat(brush: Brush, head: Head) -> None:
    """A knitted cap or a hat with a brim, on top of the hair."""
    wear = head.look.wear
    colour = colours.clothes((wear * 3.7) % 1)
    wide = head.half_width + 0.6 * volume(head) + 0.03
    top, edge = SKULL_TOP - 0.12, -0.5
    turn = np.sin(np.deg2rad(head.look.yaw))
    dome = smooth(
        [
            (-wide, edge),
            (-0.95 * wide, -0.75),
            (-0.5 * wide, top + 0.02),
            (0, top - 0.04),
            (0.5 * wide, top + 0.02),
            (0.95 * wide, -0.75),
            (wide, edge),
            (0.5 * wide, edge + 0.05),
            (0, edge + 0.07),
            (-0.5 * wide, edge + 0.05),
        ]
    )
    brush.fill(head.on_canvas(head.silhouette(dome)), colour)
    shine = smooth([(-0.62 * wide, -0.7), (-0.4 * wide, top + 0.12), (-0.2 * wide, top + 0.12), (-0.4 * wide, -0.7)])
    brush.fill(head.on_canvas(head.silhouette(shine)), colours.mix(colour, colours.WHITE, 0.4), 0.6)
    if (wear * 5) % 1 < 0.5:
        band = smooth(
            [(-wide, edge), (-0.5 * wide, edge + 0.04), (0, edge + 0.06), (0.5 * wide, edge + 0.04), (wide, edge)],
            closed=False,
        )
        brush.fill(head.on_canvas(ribbon(head.silhouette(band), 0.2)), colours.mix(colour, colours.WHITE, 0.35))
        brush.fill(
            head.on_canvas(head.silhouette(ellipse(0, top - 0.05, 0.1, 0.09))), colours.mix(colour, colours.WHITE, 0.6)
        )
    else:
        brim = ellipse(0.1 * turn, edge + 0.02, wide + 0.24, 0.11, 28)
        brush.fill(head.on_canvas(head.silhouette(brim)), colours.shade(colour, 0.35))
        ribbon_line = smooth([(-wide, edge - 0.1), (0, edge - 0.05), (wide, edge - 0.1)], closed=False)
        brush.fill(head.on_canvas(ribbon(head.silhouette(ribbon_line), 0.11)), colours.mix(colour, colours.INK, 0.6))
