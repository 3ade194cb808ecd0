"""Sim(GT) against copy-paste of all variants, each a curve along the slider."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from withanyone_core.meter.images.sheet import (
    FAINT,
    LARGE,
    MARGIN,
    NORMAL,
    SMALL,
    STRIPE,
    TITLE_PX,
    Colour,
    dot,
    new_sheet,
    text_length,
    write,
)

from .results import Results
from .variants import START, TITLES

WIDTH_PX, HEIGHT_PX, LEGEND_PX = 760, 520, 430
COLORS: dict[str, Colour] = {
    START: (165, 168, 175),
    "a": (255, 107, 107),
    "b": (255, 190, 92),
    "c": (120, 200, 120),
    "d63": (104, 175, 255),
    "d4096": (200, 140, 255),
}
GRID = (76, 78, 84)
_ROOM = 0.04  # around the values
_TICK = 0.1


@dataclass(frozen=True)
class Spot:
    """A variant at one value of the slider."""

    slider: float
    x: float
    y: float


def write_plot(path: Path, results: Results) -> None:
    """A PNG, written in one step."""
    part = path.with_name(f"{path.name}.part")
    Image.fromarray(draw_plot(results)).save(part, "PNG", optimize=True)
    part.replace(path)


def draw_plot(results: Results) -> np.ndarray:
    """uint8 RGB [height, width, 3]: to the right more alike, downwards less copied."""
    curves = {name: _curve(results, name) for name in results.variants}
    curves = {name: spots for name, spots in curves.items() if spots}
    image, draw = new_sheet(WIDTH_PX + LEGEND_PX + 2 * MARGIN, HEIGHT_PX + 2 * MARGIN + TITLE_PX)
    write(draw, (MARGIN, MARGIN), "Likeness against copying, along the slider", "white", LARGE)
    spots = [spot for curve in curves.values() for spot in curve]
    field = _Field([*spots, *(end for name in curves for end in _ends(results, name))])
    field.draw(draw)
    usual = results.any["usual"]
    for name, curve in curves.items():
        _draw_curve(draw, field, curve, COLORS[name], usual)
    for name in curves:
        _draw_cross(draw, field, results, name)
    _draw_legend(draw, results, list(curves))
    return np.asarray(image)


def _curve(results: Results, variant: str) -> list[Spot]:
    spots = []
    for value in results.sliders:
        x, y = (results.estimate(variant, metric, value) for metric in ("sim_gt", "copy_paste"))
        if x is not None and y is not None:
            spots.append(Spot(value, x.value, y.value))
    return spots


def _draw_curve(draw: ImageDraw.ImageDraw, field: "_Field", spots: Sequence[Spot], color: Colour, usual: float) -> None:
    places = [field.at(spot.x, spot.y) for spot in spots]
    if len(places) > 1:
        draw.line(places, fill=color, width=2)
    for spot, place in zip(spots, places, strict=True):
        dot(draw, place, 8 if spot.slider == usual else 4, color)
    for spot, (x, y) in ((spots[0], places[0]), (spots[-1], places[-1])):
        write(draw, (x + 9, y - 9), f"{spot.slider:g}", color, SMALL, "ls")


def _draw_cross(draw: ImageDraw.ImageDraw, field: "_Field", results: Results, variant: str) -> None:
    """The intervals at the slider's usual value."""
    places = [field.at(end.x, end.y) for end in _ends(results, variant)]
    for first, second in zip(places[::2], places[1::2], strict=True):
        draw.line((*first, *second), fill=COLORS[variant], width=2)


def _ends(results: Results, variant: str) -> list[Spot]:
    """Where the intervals at the slider's usual value end: left, right, low and high; nothing without faces."""
    x, y = results.estimate(variant, "sim_gt"), results.estimate(variant, "copy_paste")
    if x is None or y is None:
        return []
    usual = results.any["usual"]
    places = (x.low, y.value), (x.high, y.value), (x.value, y.low), (x.value, y.high)
    return [Spot(usual, *place) for place in places]


def _draw_legend(draw: ImageDraw.ImageDraw, results: Results, variants: Sequence[str]) -> None:
    x, y = WIDTH_PX + 2 * MARGIN, MARGIN + TITLE_PX + 10
    for name in variants:
        dot(draw, (x + 8, y + 10), 8, COLORS[name])
        label = TITLES[name] if name == START else f"{name}  {TITLES[name]}"
        size = NORMAL if text_length(label, NORMAL) <= LEGEND_PX - 40 else SMALL
        write(draw, (x + 26, y), label, "white", size)
        y += 34
    line = results.any
    words = (
        f"small dots: {line['slider']} {', '.join(f'{value:g}' for value in results.sliders)}",
        f"large dots: {line['usual']:g}, with 95 % intervals",
    )
    for text in words:
        y += 24
        write(draw, (x, y), text, FAINT, SMALL)


class _Field:
    """The part of the sheet that holds the curves, and where a value lies in it."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        self.x, self.y = (_range([getattr(spot, side) for spot in spots]) for side in ("x", "y"))
        self.left, self.top = MARGIN + 56, MARGIN + TITLE_PX + 26
        self.right, self.bottom = MARGIN + WIDTH_PX - 10, MARGIN + TITLE_PX + HEIGHT_PX - 50

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a value; what lies outside is drawn on the edge."""
        along = min(max((x - self.x[0]) / (self.x[1] - self.x[0]), 0.0), 1.0)
        up = min(max((y - self.y[0]) / (self.y[1] - self.y[0]), 0.0), 1.0)
        return self.left + along * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((self.left, self.top, self.right, self.bottom), fill=STRIPE)
        for value in _ticks(self.x):
            x, _ = self.at(value, self.y[0])
            draw.line((x, self.top, x, self.bottom), fill=GRID)
            write(draw, (x, self.bottom + 6), f"{value:g}", FAINT, SMALL, "ma")
        for value in _ticks(self.y):
            _, y = self.at(self.x[0], value)
            draw.line((self.left, y, self.right, y), fill=GRID)
            write(draw, (self.left - 8, y), f"{value:g}", FAINT, SMALL, "rm")
        middle = (self.left + self.right) / 2
        write(draw, (middle, self.bottom + 28), "Sim(GT): more is more alike", FAINT, SMALL, "ma")
        write(draw, (MARGIN, self.top - 22), "copy-paste: less is better", FAINT, SMALL)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values, default=0.0) - _ROOM, max(values, default=1.0) + _ROOM


def _ticks(ends: tuple[float, float]) -> list[float]:
    low, high = ends
    step = _TICK / 2 if high - low < 4 * _TICK else _TICK
    return [
        round(number * step, 3) for number in range(int(low // step), int(high // step) + 1) if number * step >= low
    ]
