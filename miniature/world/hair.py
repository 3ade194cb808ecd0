"""Hair: what hangs behind the head, what lies on it, and what falls beside the face."""

import numpy as np

from . import colors
from .brush import Brush
from .curves import Points, ribbon, smooth
from .head import SKULL_TOP, Head

_SHORT = 0.3


def volume(head: Head) -> float:
    """How far the hair stands off the skull, in head units."""
    return head.person.between("hair_volume", 0.035, 0.24)


def _end(head: Head) -> float:
    """y where the hair ends."""
    return head.person.between("hair_length", -0.35, 1.15)


def _crown(head: Head, lowest: float) -> Points:
    """The hair's outer edge from the left side at y = lowest over the top to the right, in head coordinates."""
    wide, top = head.half_width + volume(head), SKULL_TOP - 0.85 * volume(head)
    right = [(0.55 * wide, top + 0.09), (0.88 * wide, top + 0.34), (wide, -0.12)]
    snug = wide if _end(head) > _SHORT else 0.3 * wide + 0.7 * head.half_width
    right.append((snug, max(lowest, 0.06)))
    left = [(-x, y) for x, y in reversed(right)]
    return smooth([*left, (0, top), *right], closed=False)


def _curled(edge: Points, head: Head) -> Points:
    """The edge with curls, as large as the trait above the middle."""
    size = 0.13 * max(head.person["hair_curl"], 0)
    if size < 0.01:
        return edge
    steps = np.hypot(*np.diff(edge, axis=0).T)
    length = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, length[-1], max(int(length[-1] / 0.04), 8))
    fine = np.stack([np.interp(at, length, edge[:, i]) for i in (0, 1)], 1)
    out = fine - (0, 0.1)
    out /= np.maximum(np.hypot(out[:, 0], out[:, 1]), 1e-6)[:, None]
    return fine + out * size * (np.abs(np.sin(at * np.pi / 0.45))[:, None] - 0.3)


def draw_back_hair(brush: Brush, head: Head) -> None:
    """The hair behind neck and shoulders."""
    color = colors.hair(head.person)
    end = _end(head)
    if end > _SHORT:
        flare = head.half_width + volume(head) * (1.0 + 0.35 * end)
        fall = smooth(
            [
                (head.half_width + volume(head), 0.12),
                (flare, 0.5 * end + 0.1),
                (0.92 * flare, end),
                (0.5 * flare, end + 0.06),
            ],
            closed=False,
        )
        edge = np.concatenate([(fall * (-1, 1))[::-1], _crown(head, 0.06), fall])
    else:
        edge = _crown(head, max(end, 0.0))
    seen = head.silhouette(_curled(edge, head)) - (0.08 * np.sin(np.deg2rad(head.look.yaw)), 0)
    brush.fill(head.on_canvas(seen), colors.shade(color, 0.45))


def _hairline(head: Head, lowest: float) -> Points:
    """The hair's edge on the face from right to left, in head coordinates."""
    a, top = head.half_width, head.hairline
    fringe, part = head.person["hair_fringe"], 0.5 * a * head.person["hair_parting"]
    deep = top + 0.3 * max(fringe, 0)
    corner = top + (0.12 if fringe > 0 else 0.12 + 0.14 * fringe) + 0.22 * max(fringe, 0)
    right = [(0.97 * a, lowest), (0.9 * a, -0.2), (0.68 * a, corner), ((0.68 * a + part) / 2, deep)]
    left = [((-0.68 * a + part) / 2, deep), (-0.68 * a, corner), (-0.9 * a, -0.2), (-0.97 * a, lowest)]
    return smooth([*right, (part, top + 0.02), *left], closed=False)


def draw_front_hair(brush: Brush, head: Head) -> None:
    """The hair on the skull down to the hairline, and locks beside the face."""
    color, end = colors.hair(head.person), _end(head)
    lowest = float(np.clip(end, -0.05, 0.22))
    outer = head.on_canvas(head.silhouette(_curled(_crown(head, lowest), head)))
    hairline = _hairline(head, lowest)
    near = np.clip(-3 * np.sign(hairline[:, 0]) * np.sin(np.deg2rad(head.look.yaw)), 0, 1)
    lift = 0.03 - 0.22 * near * np.clip((hairline[:, 1] + 0.3) / 0.3, 0, 1)  # the near temple lies further back
    shadow = head.at(hairline * (0.98, 1) + (0, 0.06), lift=lift)
    brush.fill(np.concatenate([outer, shadow]), colors.shade(colors.skin(head.person), 0.9), 0.45)
    brush.fill(np.concatenate([outer, head.at(hairline, lift=lift)]), color)
    if end > _SHORT:
        _draw_locks(brush, head, color, end)


def _draw_locks(brush: Brush, head: Head, color: colors.Color, end: float) -> None:
    a, wide = head.half_width, head.half_width + 0.6 * volume(head)
    sway = 0.05 * max(head.person["hair_curl"], 0)
    bottom = min(end, 1.35)
    for side in (-1, 1):
        y = np.linspace(-0.42, bottom, 14)
        x = np.interp(y, [-0.42, -0.05, 0.4, 1.4], [0.88 * a, 0.99 * a, wide, 0.98 * wide])
        x = x + sway * np.sin(y * 9)
        width = np.interp(np.linspace(0, 1, 14), [0, 0.3, 0.8, 1], [0.08, 0.17, 0.2, 0.05]) * (1 + 1.5 * volume(head))
        lock = head.silhouette(np.stack([side * x, y], 1))
        brush.fill(head.on_canvas(ribbon(lock, width)), colors.shade(color, 0.12))
