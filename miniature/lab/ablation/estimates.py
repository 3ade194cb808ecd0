"""Means over images and seeds with their 95 % intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4_000
OUTSIDE = (2.5, 97.5)
Runs = Mapping[int, Sequence[float | None]]  # by seed a number an image, None where there is none


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def estimate(runs: Runs) -> Estimate | None:
    """The mean over all runs and images; None where nothing was measured.

    Images and runs are both resampled: one image is alike in all runs, and the images of one run are alike.
    """
    table = _table(runs, sorted(runs))
    return _estimate(_means(table, *_everything(table)), _means(table, *_draws(table)))


def difference(first: Runs, second: Runs) -> Estimate | None:
    """Mean of `second` less that of `first`, of the same images and the seeds that both have; None without any."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    before, after = _table(first, seeds), _table(second, seeds)
    whole, drawn = _everything(before), _draws(before)
    return _estimate(*(_means(after, *how) - _means(before, *how) for how in (whole, drawn)))


def correlations(risks: Sequence[float], copying: Sequence[float]) -> dict[str, Estimate]:
    """Spearman's and Pearson's coefficients over sets, each with an interval by resampling sets.

    Raises ValueError for fewer than three sets, or where one side is the same everywhere.
    """
    from scipy.stats import rankdata

    pairs = np.array([risks, copying], dtype=np.float64)
    if pairs.shape[1] < 3 or (np.ptp(pairs, axis=1) == 0).any():
        raise ValueError(f"{pairs.shape[1]} sets cannot be correlated: at least three that differ are needed.")
    rng = np.random.default_rng(0)
    draws = [pairs[:, rng.integers(pairs.shape[1], size=pairs.shape[1])] for _ in range(RESAMPLES)]
    # A draw of one set only has no coefficient.
    draws = [drawn for drawn in draws if (np.ptp(drawn, axis=1) > 0).all()]
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "Spearman": lambda drawn: np.array([rankdata(side) for side in drawn]),
        "Pearson": lambda drawn: drawn,
    }
    found = {}
    for name, seen in kinds.items():
        low, high = np.percentile([np.corrcoef(seen(drawn))[0, 1] for drawn in draws], OUTSIDE)
        found[name] = Estimate(float(np.corrcoef(seen(pairs))[0, 1]), float(low), float(high))
    return found


def _table(runs: Runs, seeds: Sequence[int]) -> np.ndarray:
    """float64 [seeds, images], NaN where nothing was measured."""
    return np.array([[np.nan if value is None else value for value in runs[seed]] for seed in seeds], dtype=np.float64)


def _everything(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each run and each image counts, [1, seeds] and [1, images]: once."""
    return tuple(np.ones((1, size)) for size in table.shape)


def _draws(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for every resample, [resamples, seeds] and [resamples, images]."""
    rng = np.random.default_rng(0)
    return tuple(rng.multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(float) for size in table.shape)


def _means(table: np.ndarray, seeds: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Means [resamples] of the numbers there are; NaN without any."""
    known = ~np.isnan(table)
    sums = (seeds @ np.where(known, table, 0.0) * images).sum(1)
    counts = (seeds @ known * images).sum(1)
    return sums / np.where(counts > 0, counts, np.nan)


def _estimate(whole: np.ndarray, drawn: np.ndarray) -> Estimate | None:
    if not np.isfinite(whole[0]):
        return None
    low, high = np.nanpercentile(drawn, OUTSIDE)
    return Estimate(float(whole[0]), float(low), float(high))
