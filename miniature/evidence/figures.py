"""A measured number with its 95 % interval, and a table of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # of the normal distribution for 95 %
RESAMPLES = 4_000


@dataclass(frozen=True)
class Figure:
    """What was measured, on people and scenes that nothing was trained on.

    value, low, high  the figure and its 95 % interval, in `unit`
    count             of what was measured, such as faces or pairs
    target            the least or, where `at_most`, the most it should be; None where there is no target
    """

    name: str
    value: float
    low: float
    high: float
    count: int
    unit: str = ""
    target: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the figure itself, not its interval, meets its target; true without one."""
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target


def share(name: str, hits: Sequence[bool] | np.ndarray, target: float | None = None) -> Figure:
    """How many of a hundred, with Wilson's interval (1927), which is sound near 100 % too.

    Raises ValueError for nothing at all.
    """
    count = len(hits)
    if not count:
        raise ValueError(f"Nothing was measured for {name}.")
    part = float(np.mean(hits))
    middle = (part + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * np.sqrt(part * (1 - part) / count + Z**2 / (4 * count**2))
    return Figure(name, 100 * part, 100 * (middle - reach), 100 * (middle + reach), count, "%", target)


def mean(
    name: str,
    values: np.ndarray,
    groups: np.ndarray | None = None,
    unit: str = "",
    target: float | None = None,
    at_most: bool = False,
) -> Figure:
    """A mean with its bootstrap interval; whole groups are resampled, for faces of one picture are not independent."""
    keys = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(keys, values), np.bincount(keys)
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return Figure(name, float(np.mean(values)), float(low), float(high), len(values), unit, target, at_most)


def correlation(name: str, first: np.ndarray, second: np.ndarray) -> Figure:
    """Pearson's correlation of pairs of numbers, of booleans the phi coefficient, with its bootstrap interval.

    Zero where one side never varies, as with a recogniser that makes no mistake.
    """
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(first), size=len(first)) for _ in range(RESAMPLES // 4))
    low, high = np.percentile([_pearson(first[each], second[each]) for each in drawn], [2.5, 97.5])
    return Figure(name, _pearson(first, second), float(low), float(high), len(first))


def table(figures: Sequence[Figure]) -> str:
    """The figures in Markdown, one a line."""
    lines = ["| what | value | 95 % interval | of | target |", "| --- | ---: | ---: | ---: | ---: |"]
    for figure in figures:
        unit = f" {figure.unit}" if figure.unit else ""
        target = ""
        if figure.target is not None:
            missed = "" if figure.reached else " (missed)"
            target = f"{'at most ' if figure.at_most else ''}{figure.target:g}{unit}{missed}"
        interval = f"{figure.low:.4g} to {figure.high:.4g}"
        lines.append(f"| {figure.name} | {figure.value:.4g}{unit} | {interval} | {figure.count:,} | {target} |")
    return "\n".join(lines) + "\n"


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - np.mean(first), second - np.mean(second)
    lengths = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / lengths) if lengths > 0 else 0.0
