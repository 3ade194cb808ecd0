"""Who looks like whom over a whole batch."""

from collections.abc import Sequence

import numpy as np

from ..metrics.case import CaseScores


def mean_likeness(scores: Sequence[CaseScores]) -> tuple[tuple[float | None, ...], ...]:
    """[k][j] mean over the images of how much k's face looks like j's reference, None where no image can say."""
    people = range(scores[0].expected)
    return tuple(tuple(_mean([score.likeness_ref[k][j] for score in scores]) for j in people) for k in people)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
