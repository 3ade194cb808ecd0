"""A measured number with its 95 % interval, and a table of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Z = 1.959964  # of the normal distribution for 95 %
RESAMPLES = 4_000


@dataclass(frozen=True)
class Figure:
    """What was measured, on people and scenes that nothing was trained on.

    value, low, high  the figure and its 95 % interval, in `unit`
    count             of what was measured, such as faces or pairs
    target            the least or, where `at_most`, the most it should be; None where there is no target
    meets             what has to meet the target: the figure itself, its whole interval, or "around": the interval has
                      to hold the target, as that of mere chance does
    """

    name: str
    value: float
    low: float
    high: float
    count: int
    unit: str = ""
    target: float | None = None
    at_most: bool = False
    meets: Literal["value", "interval", "around"] = "value"

    @property
    def reached(self) -> bool:
        """Whether the target is met; true without one."""
        if self.target is None:
            return True
        if self.meets == "around":
            return self.low <= self.target <= self.high
        whole = self.meets == "interval"
        if self.at_most:
            return (self.high if whole else self.value) <= self.target
        return (self.low if whole else self.value) >= self.target

    @property
    def target_text(self) -> str:
        """The target as a table says it, with "(missed)" where it was; empty without one."""
        if self.target is None:
            return ""
        how = {"value": "", "interval": ", the whole interval", "around": " in the interval"}[self.meets]
        unit = f" {self.unit}" if self.unit else ""
        return f"{'at most ' if self.at_most else ''}{self.target:g}{unit}{how}{'' if self.reached else ' (missed)'}"


def percentage(name: str, hits: Sequence[bool] | np.ndarray, target: float | None = None) -> Figure:
    """How many of a hundred, with Wilson's interval (1927), which is sound near 100 % too.

    Raises ValueError for nothing at all.
    """
    count = len(hits)
    if not count:
        raise ValueError(f"Nothing was measured for {name}.")
    part = float(np.mean(hits))
    middle = (part + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * np.sqrt(part * (1 - part) / count + Z**2 / (4 * count**2))
    low, high = 100 * max(0.0, middle - reach), 100 * min(1.0, middle + reach)  # rounding leaves a hair beyond
    return Figure(name, 100 * part, low, high, count, "%", target)


def unmeasured(name: str, unit: str = "", target: float | None = None) -> Figure:
    """The figure where there was nothing to measure, which reaches no target."""
    return Figure(name, np.nan, np.nan, np.nan, 0, unit, target)


def mean(
    name: str,
    values: np.ndarray,
    groups: np.ndarray | None = None,
    unit: str = "",
    target: float | None = None,
    at_most: bool = False,
) -> Figure:
    """A mean with its bootstrap interval; whole groups are resampled, for faces of one image are not independent."""
    keys = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(keys, values), np.bincount(keys)
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return Figure(name, float(np.mean(values)), float(low), float(high), len(values), unit, target, at_most)


def correlation(name: str, first: np.ndarray, second: np.ndarray) -> Figure:
    """Pearson's correlation of pairs of numbers, of booleans the phi coefficient, with its bootstrap interval.

    Zero where one side never varies, as with a recognizer that makes no mistake.
    """
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(first), size=len(first)) for _ in range(RESAMPLES // 4))
    low, high = np.percentile([_pearson(first[each], second[each]) for each in drawn], [2.5, 97.5])
    return Figure(name, _pearson(first, second), float(low), float(high), len(first))


def ratio(
    name: str, above: np.ndarray, below: np.ndarray, target: float | None = None, at_most: bool = False
) -> Figure:
    """The mean of one side over the mean of the other, measured of the same things [n], with its bootstrap interval."""
    drawn = np.random.default_rng(0).integers(len(above), size=(RESAMPLES, len(above)))
    sums, parts = above[drawn].sum(1), below[drawn].sum(1)
    if not np.any(parts):
        return unmeasured(name, target=target)
    low, high = np.percentile(sums[parts > 0] / parts[parts > 0], [2.5, 97.5])
    value = float(np.sum(above) / np.sum(below))
    return Figure(name, value, float(low), float(high), len(above), target=target, at_most=at_most)


def ranking(
    name: str,
    right: Sequence[Sequence[float]],
    wrong: Sequence[Sequence[float]],
    target: float | None = None,
) -> Figure:
    """How often one of the right scores is above one of the wrong ones, ties counting half: the area under the ROC.

    Both hold the scores of one image after the other, and whole images are resampled for the interval.
    """
    sides = [np.concatenate([np.zeros(0), *map(np.asarray, side)]) for side in (right, wrong)]
    if not all(map(len, sides)):
        return unmeasured(name, target=target)
    owners = [np.repeat(np.arange(len(side)), [len(scores) for scores in side]) for side in (right, wrong)]
    values, places = np.unique(np.concatenate(sides), return_inverse=True)
    split = np.split(places, [len(sides[0])])

    def area(times: np.ndarray) -> float:
        """With each image counted so many times."""
        up, down = (np.bincount(at, times[whose], len(values)) for at, whose in zip(split, owners, strict=True))
        return float(up @ (down.cumsum() - down / 2) / (up.sum() * down.sum() or np.nan))

    rng = np.random.default_rng(0)
    images = len(right)
    drawn = (rng.integers(images, size=images) for _ in range(RESAMPLES // 4))
    low, high = np.nanpercentile([area(np.bincount(each, minlength=images)) for each in drawn], [2.5, 97.5])
    return Figure(name, area(np.ones(images)), float(low), float(high), len(sides[0]) + len(sides[1]), target=target)


def table(figures: Sequence[Figure]) -> str:
    """The figures in Markdown, one a line."""
    lines = ["| what | value | 95 % interval | of | target |", "| --- | ---: | ---: | ---: | ---: |"]
    for figure in figures:
        unit = f" {figure.unit}" if figure.unit else ""
        value, interval = f"{figure.value:.4g}{unit}", f"{figure.low:.4g} to {figure.high:.4g}"
        if np.isnan(figure.value):
            value, interval = "not measured", ""
        lines.append(f"| {figure.name} | {value} | {interval} | {figure.count:,} | {figure.target_text} |")
    return "\n".join(lines) + "\n"


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - np.mean(first), second - np.mean(second)
    lengths = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / lengths) if lengths > 0 else 0.0
