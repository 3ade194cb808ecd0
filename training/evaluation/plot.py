"""Likeness against copying, drawn as SVG by hand: nothing to install, sharp at any size, read by every browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 460, 420, 56, 62, 24  # of one panel's field, and the room around it, in pixels
GREY, COLOURS = "#8a8f98", ("#2a7de1", "#d1495b", "#3a9d6a", "#8d5fd3", "#c98a1b")
LETTER, ROW = 6.2, 12  # room for a letter and for a line of a label, in pixels
_Space = tuple[float, float, float]  # the height of a name's middle, its left and its right end, in pixels


@dataclass(frozen=True)
class Point:
    """A method: x is its similarity to the ground truth, y its copy-paste, each with an interval where one is known."""

    label: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """One field of the plot: one's own points in colour over published ones in grey."""

    title: str
    own: tuple[Point, ...]
    published: tuple[Point, ...]


class _Axis:
    """Values to pixels along one side, with ticks at tenths."""

    def __init__(self, values: Sequence[float], start_px: float, end_px: float) -> None:
        margin = 0.03
        low, high = min(values) - margin, max(values) + margin
        self.low, self.high = low, max(high, low + 0.2)
        self._start_px, self._scale = start_px, (end_px - start_px) / (self.high - self.low)

    def px(self, value: float) -> float:
        return round(self._start_px + (value - self.low) * self._scale, 2)

    def ticks(self) -> list[float]:
        step = 0.1 if self.high - self.low < 1.05 else 0.25
        first = int(self.low / step) - 1
        values = (round((first + number) * step, 2) for number in range(100))
        return [value for value in values if self.low <= value <= self.high]


def svg(panels: Sequence[Panel], caption: str) -> str:
    """An SVG document with one field a panel side by side."""
    width = len(panels) * (LEFT + WIDTH + GAP)
    height = TOP + HEIGHT + 76
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (LEFT + WIDTH + GAP))
    parts.append(_text(LEFT, height - 12, caption, "#555"))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float) -> list[str]:
    points = [*panel.own, *panel.published]
    x = _Axis([value for point in points for value in (point.x, *(point.x_interval or ()))], left, left + WIDTH)
    y = _Axis([value for point in points for value in (point.y, *(point.y_interval or ()))], TOP + HEIGHT, TOP)
    parts = [_text(left, TOP - 34, panel.title, "black", size=15)]
    for value in x.ticks():
        parts.append(_line(x.px(value), TOP, x.px(value), TOP + HEIGHT, "#e4e6ea"))
        parts.append(_text(x.px(value), TOP + HEIGHT + 16, f"{value:g}", "#555", "middle"))
    for value in y.ticks():
        parts.append(_line(left, y.px(value), left + WIDTH, y.px(value), "#e4e6ea"))
        parts.append(_text(left - 6, y.px(value) + 4, f"{value:g}", "#555", "end"))
    parts.append(_text(left + WIDTH / 2, TOP + HEIGHT + 34, "Sim(GT): more is more alike", "black", "middle"))
    parts.append(_text(left, TOP - 12, "copy-paste: less is better", "black"))
    marks = [(point, COLOURS[number % len(COLOURS)], 6) for number, point in enumerate(panel.own)]
    marks += [(point, GREY, 3) for point in panel.published]
    for point, colour, radius in reversed(marks):
        parts += _mark(point, x, y, colour, radius)
    # A point is in the way of names as a name is.
    taken = [(y.px(point.y), x.px(point.x) - radius, x.px(point.x) + radius) for point, _, radius in marks]
    for point, colour, radius in marks:
        parts += _label(point, x.px(point.x), y.px(point.y), colour, radius, taken)
    return parts


def _mark(point: Point, x: _Axis, y: _Axis, colour: str, radius: int) -> list[str]:
    parts = []
    if point.x_interval:
        parts.append(_line(x.px(point.x_interval[0]), y.px(point.y), x.px(point.x_interval[1]), y.px(point.y), colour))
    if point.y_interval:
        parts.append(_line(x.px(point.x), y.px(point.y_interval[0]), x.px(point.x), y.px(point.y_interval[1]), colour))
    parts.append(f'<circle cx="{x.px(point.x):g}" cy="{y.px(point.y):g}" r="{radius}" fill="{colour}"/>')
    return parts


def _label(point: Point, x: float, y: float, colour: str, radius: int, taken: list[_Space]) -> list[str]:
    """The point's name at the nearest place beside it that is free, tied to it by a line where that is not close."""
    width = len(point.label) * LETTER
    starts = (x + radius + 4, x - radius - 4 - width)
    shifts = sorted((sign * step * ROW / 2 for step in range(24) for sign in (1, -1)), key=abs)
    places = [(y + shift, start) for shift in shifts for start in starts]
    free = (place for place in places if all(_is_clear(place, width, other) for other in taken))
    row, start = next(free, places[0])
    taken.append((row, start, start + width))
    anchor, at = ("start", start) if start > x else ("end", start + width)
    tie = [_line(x, y, at, row, colour, 0.4)] if abs(row - y) > ROW / 2 else []
    return [*tie, _text(at, row + 4, point.label, colour, anchor, 10 + radius // 3)]


def _is_clear(place: tuple[float, float], width: float, other: _Space) -> bool:
    row, start = place
    return abs(row - other[0]) >= ROW or start + width < other[1] or start > other[2]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
