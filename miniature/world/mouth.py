"""The mouth in every mood, and what grows around it."""

import numpy as np

from . import colours
from .brush import Brush
from .curves import Points, ellipse, ribbon, smooth, taper
from .head import Head
from .mood import Mood, mood_of

_T = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 17))
_LIP_RED = np.array([196.0, 62.0, 74.0])
_INSIDE = np.array([104.0, 34.0, 44.0])
_TONGUE = np.array([222.0, 108.0, 108.0])


def _lines(head: Head, mood: Mood) -> tuple[Points, Points]:
    """The mouth's upper and lower edge between the lips in head coordinates, [17, 2] each, left to right."""
    person = head.person
    x = _T * person.between("mouth_width", 0.17, 0.3) * mood.wide
    y = person.between("mouth_height", 0.57, 0.66) + 0.1 * mood.smile * (0.35 - _T**2)
    bow = np.sqrt(1 - _T**2)
    return np.stack([x, y - mood.gape * mood.above * bow], 1), np.stack([x, y + mood.gape * (1 - mood.above) * bow], 1)


def mouth_corners(head: Head) -> Points:
    """Where the two corners are seen, left first, in pixels [2, 2]."""
    upper, _ = _lines(head, mood_of(head.look))
    return head.at(upper[[0, -1]])


def draw_mouth(brush: Brush, head: Head) -> None:
    """Lips, and between them teeth and tongue where the mood opens the mouth."""
    mood, person = mood_of(head.look), head.person
    upper, lower = _lines(head, mood)
    full = person.between("lip_fullness", 0.025, 0.09)
    bow = 1 - _T**2
    cupid = 1 - 0.35 * np.exp(-((_T / 0.18) ** 2))
    top = upper - np.stack([0 * _T, 0.85 * full * bow**0.7 * cupid], 1)
    bottom = lower + np.stack([0 * _T, 1.1 * full * bow**0.8], 1)
    lip = colours.mix(colours.shade(colours.skin(person), 0.35), _LIP_RED, person.between("lip_colour", 0.1, 0.85))
    brush.fill(head.at(np.concatenate([top, bottom[::-1]])), lip)
    brush.fill(
        head.at(np.concatenate([lower * (1, 1) + (0, 0.2 * full), bottom[::-1] - (0, 0.35 * full)])),
        colours.mix(lip, colours.WHITE, 0.35),
        0.5,
    )
    if mood.gape > 0.02:
        _draw_inside(brush, head, upper, lower, mood)
    else:
        brush.fill(head.at(ribbon(upper, taper(len(upper), 0.03, 0.7))), colours.shade(lip, 1.0) * 0.75)


def _draw_inside(brush: Brush, head: Head, upper: Points, lower: Points, mood: Mood) -> None:
    brush.fill(head.at(np.concatenate([upper, lower[::-1]])), _INSIDE)
    if mood.teeth < 0.6:
        tongue = upper + (lower - upper) * 0.68
        brush.fill(head.at(np.concatenate([tongue, lower[::-1]])[3:-3]), _TONGUE)
    teeth = upper + (lower - upper) * mood.teeth
    if mood.teeth > 0.1:
        brush.fill(head.at(np.concatenate([upper[1:-1], teeth[1:-1][::-1]])), colours.WHITE)
    if mood.teeth > 0.6:
        brush.fill(head.at(ribbon((upper + teeth)[1:-1] / 2, 0.012)), _INSIDE, 0.6)


def draw_beard(brush: Brush, head: Head) -> None:
    """A beard along the jaw and a moustache, each as strong as its trait above a third of the way."""
    person = head.person
    beard, moustache = (float(np.clip(person.between(name, -1.4, 1.1), 0, 0.9)) for name in ("beard", "moustache"))
    colour = colours.mix(colours.hair(person) * 0.85, colours.INK, 0.15)
    mouth = person.between("mouth_height", 0.57, 0.66)
    wide = person.between("mouth_width", 0.17, 0.3)
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
        brush.fill(np.concatenate([head.on_canvas(rim), head.at(inner)]), colour, beard)
        patch = ellipse(0, mouth + 0.01, wide * 1.15, 0.1)
        brush.fill(head.at(patch), colours.shade(colours.skin(person), 0.15), beard)
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
        brush.fill(head.at(ribbon(line, taper(len(line), 0.09, 0.25)), lift=0.03), colour, moustache)
