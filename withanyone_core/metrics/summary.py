"""Many images to a few numbers, made from the per-case lines and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np

from .case import METRICS, CaseScores

RESAMPLES = 10_000
AT_ONCE = 500  # resamples drawn together; changes the memory needed and, with it, which draw is whose
CONFIDENCE = 0.95
FENCE = 1.5  # interquartile ranges beyond the quartiles


@dataclass(frozen=True)
class Statistic:
    """A plain mean over images with its bootstrap interval.

    low, high   95 % interval of the mean, by percentiles; None where fewer than two groups leave nothing to resample
    n           images with a value
    n_missing   images without
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    n_missing: int

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class LegacyStatistic:
    """The released evaluator's summary of a list: everything is of the values inside the fences."""

    mean: float
    std: float
    min: float
    max: float
    median: float
    q1: float
    q3: float
    outliers_removed: int
    outliers_percent: float


S = TypeVar("S", Statistic, LegacyStatistic)


@dataclass(frozen=True)
class Summary(Generic[S]):
    """What a list of scores comes to.

    metrics         for each of METRICS its statistic, None where no image has a value; LegacyStatistic in the legacy
                    arithmetic
    images, groups, expected_faces, found_faces, extra_faces   counts; None where the legacy arithmetic has none
    detection_rate  found of expected faces, 0 to 1
    count_rate      images that show exactly as many faces as expected, 0 to 1
    """

    metrics: dict[str, S | None]
    images: int
    groups: int
    expected_faces: int
    found_faces: int | None
    extra_faces: int | None
    detection_rate: float | None
    count_rate: float
    seed: int
    legacy: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@overload
def summarize(
    scores: Sequence[CaseScores], seed: int = 0, resamples: int = RESAMPLES, legacy: Literal[False] = False
) -> Summary[Statistic]: ...
@overload
def summarize(
    scores: Sequence[CaseScores], seed: int = 0, resamples: int = RESAMPLES, legacy: bool = False
) -> Summary: ...
def summarize(scores: Sequence[CaseScores], seed: int = 0, resamples: int = RESAMPLES, legacy: bool = False) -> Summary:
    """The summary of one judge's scores, the same to the last digit for a seed, in whatever order they come.

    Raises ValueError for an empty list and for one that mixes both arithmetics or is of the other than asked for.
    """
    if not scores:
        raise ValueError("There is no image to summarize. Give at least one case that could be measured.")
    if any(score.legacy != legacy for score in scores):
        raise ValueError(
            f"Some scores were made {'without' if legacy else 'with'} the legacy arithmetic, which cannot be mixed. "
            "Score all cases in one way."
        )
    expected = sum(score.expected for score in scores)
    found = None if legacy else sum(score.found for score in scores)
    return Summary(
        metrics={metric: _metric(scores, metric, seed, resamples, legacy) for metric in METRICS},
        images=len(scores),
        groups=len({score.group for score in scores}),
        expected_faces=expected,
        found_faces=found,
        extra_faces=None if legacy else sum(len(score.extra_faces) for score in scores),
        detection_rate=None if found is None else found / expected,
        count_rate=sum(score.generated == score.expected for score in scores) / len(scores),
        seed=seed,
        legacy=legacy,
    )


def statistic(
    values: Sequence[float | None], groups: Sequence[str] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Statistic | None:
    """Mean and bootstrap interval of the values that are not None; None where all are.

    groups  for each value what it shares with others, such as its prompt; whole groups are resampled, since images
            of one prompt are not independent. Without it every value stands alone.
    """
    # Padded with zeros, since sums run in the order of sorted names.
    names = [f"{index:012d}" for index in range(len(values))] if groups is None else groups
    known = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    if not known:
        return None
    sums, counts = _by_group(known)
    low, high = interval(_resampled_means(sums, counts, np.random.default_rng(seed), resamples))
    if len(sums) < 2:
        low = high = None
    return Statistic(float(sums.sum() / counts.sum()), low, high, len(known), len(values) - len(known))


def difference(
    first: Sequence[CaseScores], second: Sequence[CaseScores], metric: str, seed: int = 0, resamples: int = RESAMPLES
) -> Statistic | None:
    """Mean of `second` minus mean of `first` with its interval; None where one of them has no value.

    Where both hold the same names with a value, they are compared image by image, which is much the sharper test;
    else the two are resampled each for itself, and `n` counts the values of both.
    """
    values = [{score.name: (score.group, score.value(metric)) for score in scores} for scores in (first, second)]
    return difference_of(*values, seed=seed, resamples=resamples)


def difference_of(
    first: Mapping[str, tuple[str, float | None]],
    second: Mapping[str, tuple[str, float | None]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Statistic | None:
    """`difference` of plain values: by name the group and the value of each image."""
    values = (first, second)
    known = [_known(each) for each in values]
    missing = sum(map(len, values)) - sum(map(len, known))
    if not all(known):
        return None
    if known[0].keys() == known[1].keys() and not missing:
        changes = [(group, known[1][name][1] - value) for name, (group, value) in known[0].items()]
        return statistic([change for _, change in changes], [group for group, _ in changes], seed, resamples)
    generator = np.random.default_rng(seed)
    sides = [_by_group(list(each.values())) for each in known]
    # Reversed: second minus first.
    low, high = interval(np.subtract(*[_resampled_means(*side, generator, resamples) for side in sides[::-1]]))
    means = [float(sums.sum() / counts.sum()) for sums, counts in sides]
    if min(len(sums) for sums, _ in sides) < 2:
        low = high = None
    return Statistic(means[1] - means[0], low, high, sum(map(len, known)), missing)


def paired_means(columns: Sequence[Sequence[float | None]], seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of several columns of values of the same images, float64 [columns, 1 + resamples].

    The first is that of the images as they are, then one for each resample, which draws the same images for all
    columns; NaN where no image that was drawn has a value. Every image stands alone.
    """
    values = np.array(columns, dtype=np.float64)
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0.0), known.astype(np.float64)
    means = []
    with np.errstate(invalid="ignore"):
        for total, count in zip(sums, counts, strict=True):
            # The same seed for each column draws the same images for all of them.
            drawn = _resampled_means(total, count, np.random.default_rng(seed), resamples)
            means.append(np.append(total.sum() / count.sum(), drawn))
    return np.stack(means)


def interval(means: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of resampled means by percentiles; those that are NaN do not count."""
    outside = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means[~np.isnan(means)], [outside, 100 - outside])
    return float(low), float(high)


def _known(values: Mapping[str, tuple[str, float | None]]) -> dict[str, tuple[str, float]]:
    return {name: (group, value) for name, (group, value) in values.items() if value is not None}


def judges_mean(judged: Sequence[Sequence[CaseScores]], metric: str) -> tuple[list[float | None], list[str]]:
    """For each image the mean of what several judges say, None where one of them says nothing, and its group.

    Raises ValueError where the judges did not judge the same images.
    """
    by_name = [{score.name: score for score in scores} for scores in judged]
    names = sorted(by_name[0]) if by_name else []
    if any(sorted(each) != names for each in by_name):
        raise ValueError("The judges did not judge the same images. Score every case with every judge.")
    values = [[each[name].value(metric) for each in by_name] for name in names]
    return [_mean_of_all(row) for row in values], [by_name[0][name].group for name in names]


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def legacy_statistic(values: Sequence[float | None]) -> LegacyStatistic | None:
    """The released evaluator's trimmed statistics of the values that are not None; None without any.

    Values further than 1.5 interquartile ranges beyond the quartiles are dropped, which no paper mentions. Its
    "Average" pools the values of all recognizers in one list. Its fallback to the median, for the case that more than
    half would be dropped, cannot happen: at least half of any list lies between its quartiles.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not known.size:
        return None
    q1, q3 = np.percentile(known, [25, 75])
    reach = FENCE * (q3 - q1)
    kept = known[(known >= q1 - reach) & (known <= q3 + reach)]
    removed = known.size - kept.size
    # The fences are of all values, the quartiles that are reported of those inside (released evaluator).
    q1, median, q3 = (float(value) for value in np.percentile(kept, [25, 50, 75]))
    return LegacyStatistic(
        mean=float(kept.mean()),
        std=float(kept.std()),
        min=float(kept.min()),
        max=float(kept.max()),
        median=median,
        q1=q1,
        q3=q3,
        outliers_removed=int(removed),
        outliers_percent=100.0 * removed / known.size,
    )


def _metric(
    scores: Sequence[CaseScores], metric: str, seed: int, resamples: int, legacy: bool
) -> Statistic | LegacyStatistic | None:
    values = [score.value(metric) for score in scores]
    if legacy:
        return legacy_statistic(values)
    return statistic(values, [score.group for score in scores], seed, resamples)


def _by_group(named: Sequence[tuple[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each group, groups and values in sorted order, so that order changes no digit."""
    totals: dict[str, list[float]] = {}
    for name, value in sorted(named):
        totals.setdefault(name, []).append(value)
    return np.array([sum(values) for values in totals.values()]), np.array([len(values) for values in totals.values()])


def _resampled_means(
    sums: np.ndarray, counts: np.ndarray, generator: np.random.Generator, resamples: int
) -> np.ndarray:
    means = []
    for start in range(0, resamples, AT_ONCE):
        # Whole groups, with replacement: the images of one are not independent.
        drawn = generator.integers(len(sums), size=(min(AT_ONCE, resamples - start), len(sums)))
        # A ratio of sums and no mean of means: a group of more images weighs more, as in the plain mean.
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)
