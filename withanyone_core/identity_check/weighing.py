"""Which explanation fits a face best: somebody, two people blended, or a stranger.

Every explanation says which similarities with all expected people it leads to; a face is called by the one that makes
the similarities it has most likely, all being equally likely beforehand. How often another one would win, were the
photos others of the same people, is drawn DRAWS times; where that is more than 5 %, nothing is decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import Calibration

DRAWS = 400
OUTSIDE_PERCENT = 5.0
FREEDOM = 4.0  # of Student's distribution: faces in profile or half hidden are rare, but far more off than Gauss has it
# How far a blend strays from midway, between a stranger (0) and the person (1): seldom is it half and half, and no
# recognizer puts the mean of two faces at the mean of their embeddings.
BLEND_SPREAD = 0.12
_BELOW, _BOTH, _ABOVE = -1, 0, 1  # which side of what is expected speaks against an explanation


@dataclass(frozen=True)
class Explanation:
    """Of a face: nobody known (empty), one person, or two blended; places among the expected people."""

    people: tuple[int, ...] = ()


@dataclass(frozen=True)
class Weighed:
    """The likeliest explanation, the next one, and the log odds between them with the lower end of their interval."""

    best: Explanation
    next: Explanation
    odds: float
    low: float

    @property
    def is_decided(self) -> bool:
        return self.low > 0


def explanations(people: int, own: int | None) -> tuple[Explanation, ...]:
    """Everything that a face can be; blended only with the person it should be, if it should be anybody."""
    blends = () if own is None else tuple(Explanation((own, other)) for other in range(people) if other != own)
    return (*(Explanation((place,)) for place in range(people)), Explanation(), *blends)


def weigh(similarities: np.ndarray, who: Sequence[int], own: int | None, calibration: Calibration) -> Weighed:
    """The verdict on a face.

    similarities  float64 [expected people]: mean cosine of the face with the photos of each
    who           for each their place in the calibration
    own           place among the expected people of whom it should be, None for nobody
    """
    options = explanations(len(who), own)
    random = np.random.default_rng(0)
    first = _log_likelihoods(options, similarities[None], calibration.expected[np.ix_(who, who)][None], calibration)[0]
    best = int(first.argmax())
    others = np.arange(len(options)) != best
    following = int(np.flatnonzero(others)[first[others].argmax()])
    drawn = _log_likelihoods(
        options,
        similarities[None],
        calibration.expected[np.ix_(who, who)]
        + calibration.expected_se[np.ix_(who, who)] * _symmetric(random.normal(size=(DRAWS, len(who), len(who)))),
        calibration,
    )
    odds = drawn[:, best] - drawn[:, others].max(axis=1)
    return Weighed(
        options[best],
        options[following],
        float(first[best] - first[following]),
        float(np.percentile(odds, OUTSIDE_PERCENT)),
    )


def interval(similarity: float, person: int, calibration: Calibration) -> tuple[float, float]:
    """95 % interval of a mean similarity with a person, from how far single photos differ."""
    reach = 1.96 * calibration.photo_sd / np.sqrt(calibration.counts[person])
    return similarity - float(reach), similarity + float(reach)


def _symmetric(values: np.ndarray) -> np.ndarray:
    """Matrices [draws, n, n] whose upper half is repeated below."""
    upper = np.triu(values)
    return upper + np.swapaxes(np.triu(values, 1), 1, 2)


def _log_likelihoods(
    options: Sequence[Explanation], similarities: np.ndarray, expected: np.ndarray, calibration: Calibration
) -> np.ndarray:
    """float64 [draws, options] from similarities [draws, n] and what is expected [draws, n, n]."""
    columns = []
    for option in options:
        means, deviations, sides = _terms(option, expected, calibration)
        off = (similarities - means) / deviations
        off = np.where(sides * off < 0, 0.0, off)
        columns.append((-(FREEDOM + 1) / 2 * np.log1p(off**2 / FREEDOM) - np.log(deviations)).sum(axis=1))
    return np.stack(columns, axis=1)


def _terms(
    option: Explanation, expected: np.ndarray, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means [draws, n], deviations [n] and sides [n] of the similarities that an explanation leads to."""
    count = expected.shape[-1]
    if not option.people:
        return (
            np.full(expected.shape[:2], calibration.stranger),
            np.full(count, calibration.stranger_sd),
            np.full(count, _ABOVE),
        )
    mine = np.isin(np.arange(count), option.people)
    deviations = np.where(mine, calibration.same_sd, calibration.other_sd)
    if len(option.people) == 1:
        # More like the person than their own photos are, or less like the others, speaks against nothing.
        return expected[:, option.people[0]], deviations, np.where(mine, _BELOW, _ABOVE)
    first, second = option.people
    # The direction midway between two of length 1, whose cosine is that of the two people.
    midway = (expected[:, first] + expected[:, second]) / np.sqrt(2 + 2 * expected[:, first, second])[:, None]
    spread = BLEND_SPREAD * (calibration.same - calibration.stranger)
    return midway, np.where(mine, np.hypot(deviations, spread), deviations), np.where(mine, _BOTH, _ABOVE)
