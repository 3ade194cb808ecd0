"""The mouth in every expression, and what grows around it."""

import numpy as np

from . import colors
from .brush import Brush
from .curves import Points, ellipse, ribbon, smooth, taper
from .expression import Expression, expression_of
from .head import Head

_HEIGHT = 0.615
_FULLNESS = 0.0575
_T = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 17))
_LIP_RED = np.array([196.0, 62.0, 74.0])
_INSIDE = np.array([104.0, 34.0, 44.0])
_TONGUE = np.array([222.0, 108.0, 108.0])


def _lines(head: Head, expression: Expression) -> tuple[Points, Points]:
    """The mouth's upper and lower edge between the lips in head coordinates, [17, 2] each, left to right."""
    person = head.person
    x = _T * person.between("mouth_width", 0.2, 0.3) * expression.wide
    y = _HEIGHT + 0.1 * expression.smile * (0.35 - _T**2)
    bow = np.sqrt(1 - _T**2)
    return np.stack([x, y - expression.gape * expression.above * bow], 1), np.stack(
        [x, y + expression.gape * (1 - expression.above) * bow], 1
    )


def mouth_corners(head: Head) -> Points:
    """Where the two corners are seen, left first, in pixels [2, 2]."""
    upper, _ = _lines(head, expression_of(head.look))
    return head.at(upper[[0, -1]])


def draw_mouth(brush: Brush, head: Head) -> None:
    """Lips, and between them teeth and tongue where the expression opens the mouth."""
    expression, person = expression_of(head.look), head.person
    upper, lower = _lines(head, expression)
    full = _FULLNESS
    bow = 1 - _T**2
    cupid = 1 - 0.35 * np.exp(-((_T / 0.18) ** 2))
    top = upper - np.stack([0 * _T, 0.85 * full * bow**0.7 * cupid], 1)
    bottom = lower + np.stack([0 * _T, 1.1 * full * bow**0.8], 1)
    lip = colors.mix(colors.shade(colors.skin(person), 0.35), _LIP_RED, person.between("lip_color", 0.1, 0.85))
    brush.fill(head.at(np.concatenate([top, bottom[::-1]])), lip)
    if expression.gape > 0.02:
        _draw_inside(brush, head, upper, lower, expression)
    else:
        brush.fill(head.at(ribbon(upper, taper(len(upper), 0.045, 0.7))), colors.shade(lip, 1.0) * 0.75)


def _draw_inside(brush: Brush, head: Head, upper: Points, lower: Points, expression: Expression) -> None:
    brush.fill(head.at(np.concatenate([upper, lower[::-1]])), _INSIDE)
    if expression.teeth < 0.6:
        tongue = upper + (lower - upper) * 0.68
        brush.fill(head.at(np.concatenate([tongue, lower[::-1]])[3:-3]), _TONGUE)
    teeth = upper + (lower - upper) * expression.teeth
    if expression.teeth > 0.1:
        brush.fill(head.at(np.concatenate([upper[1:-1], teeth[1:-1][::-1]])), colors.WHITE)


def draw_beard(brush: Brush, head: Head) -> None:
    """A beard along the jaw and a moustache, each there or not; few traits stand between."""
    person = head.person
    beard, moustache = (float(np.clip(8 * (person[name] - 0.3), 0, 0.96)) for name in ("beard", "moustache"))
    color = colors.mix(colors.hair(person) * 0.85, colors.INK, 0.15)
    mouth = _HEIGHT
    wide = person.between("mouth_width", 0.2, 0.3)
    if beard > 0:
        a = head.half_width
        rim = head.silhouette(head.rim)[head.rim[:, 1] > 0.02]
        inner = smooth(
            [
                (-0.97 * a, 0.04),
                (-0.89 * a, 0.3),
                (-0.72 * a, 0.5),
                (-wide - 0.12, mouth - 0.03),
                (0, mouth - 0.06),
                (wide + 0.12, mouth - 0.03),
                (0.72 * a, 0.5),
                (0.89 * a, 0.3),
                (0.97 * a, 0.04),
            ],
            closed=False,
        )
        brush.fill(np.concatenate([head.on_canvas(rim), head.at(inner)]), color, beard)
        patch = ellipse(0, mouth + 0.01, wide * 1.15, 0.1)
        brush.fill(head.at(patch), colors.shade(colors.skin(person), 0.15), beard)
    if moustache > 0:
        y = mouth - 0.11
        line = smooth(
            [
                (-wide * 1.05, y + 0.09),
                (-wide * 0.5, y + 0.01),
                (0, y),
                (wide * 0.5, y + 0.01),
                (wide * 1.05, y + 0.09),
            ],
            closed=False,
            samples=4,
        )
        brush.fill(head.at(ribbon(line, taper(len(line), 0.13, 0.25)), lift=0.03), color, moustache)
