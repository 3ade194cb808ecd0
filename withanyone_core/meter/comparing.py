"""Two batches, metric by metric."""

from dataclasses import dataclass

from ..metrics.summary import RESAMPLES, Statistic, difference, summarize
from .measuring import Measured


@dataclass(frozen=True)
class Comparison:
    """One metric of two batches.

    first, second  their means with intervals, None where a batch has no value
    change         second minus first, None where one of them has none
    paired         whether it was taken image by image
    """

    metric: str
    first: Statistic | None
    second: Statistic | None
    change: Statistic | None
    paired: bool


def compare(first: Measured, second: Measured, seed: int = 0, resamples: int = RESAMPLES) -> tuple[Comparison, ...]:
    """The metrics of which at least one batch has a value.

    Batches of one length are taken image by image, the first of one with the first of the other.
    """
    sides = [summarize(measured.scores, seed, resamples).metrics for measured in (first, second)]
    rows = []
    for metric in sides[0]:
        one, two = sides[0][metric], sides[1][metric]
        if one is None and two is None:
            continue
        change = difference(first.scores, second.scores, metric, seed, resamples)
        paired = change is not None and len(first.scores) == len(second.scores) and change.n_missing == 0
        rows.append(Comparison(metric, one, two, change, paired))
    return tuple(rows)
