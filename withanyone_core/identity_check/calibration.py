"""What a recognizer says of these people's own photos, against which generated faces are weighed.

The idea is MultiBind's (arXiv 2603.21937): the similarities of generated faces with everybody, less those that the real
photos have with each other, tell drift, swap, dominance and blending apart. Here the photos also say how far either may
vary: each photo in turn is weighed as if it were a generated face.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .values import Name, Person

PRIOR_WEIGHT = 4.0  # so many photos' worth: what is known of the recognizer before any photo is seen
NEAREST_COSINE = 0.9999  # arctanh of 1 is infinite
USUAL_LOOKS = 0.7, 0.25  # closeness of the looks of two photos of one person, before any photo is seen: half a pixel


@dataclass(frozen=True)
class Levels:
    """Cosines of two photos of one person and of two people, before any photo is seen: means and deviations."""

    same: float = 0.5
    same_sd: float = 0.13
    other: float = 0.03
    other_sd: float = 0.09


@dataclass(frozen=True, eq=False)
class Calibration:
    """Similarities to expect; all are mean cosines of a face with a person's photos unless said otherwise.

    expected      float64 [people, people]: what a face of the row's person has with the column's photos
    expected_se   the same shape: standard error of these
    same_sd, other_sd, stranger_sd   how far a face of the person, of another known one, of a stranger strays from that
    same          what a face of the person has, over all people
    stranger      what a stranger has
    photo_sd      how far the cosines of a face with single photos of its person stray from their mean
    counts        int [people]: photos of each
    nearest       how near the nearest of the person's other photos is to a photo, by cosine of embeddings
    look          the same, by how far features of their looks are apart; None where looks are not known
    threshold     where a face is as likely the person as a stranger, with its 95 % interval
    measured_on   pairs of photos of one person, and of two people, that went into it
    """

    expected: np.ndarray
    expected_se: np.ndarray
    same_sd: float
    other_sd: float
    same: float
    stranger: float
    stranger_sd: float
    photo_sd: float
    counts: np.ndarray
    nearest: "Nearness"
    look: "Nearness | None"
    threshold: tuple[float, float, float]
    measured_on: tuple[int, int]


@dataclass(frozen=True)
class Measure:
    """What says how near a face is to a photo.

    what       it compares, for people
    closeness  its values made higher for nearer and spread evenly, so that deviations can be added
    value      the inverse
    closest    a photo and the same photo, pasted, scaled and saved, need not be nearer
    bounds     standard deviations up to which a face is no copy, and from which it is one
    prior      so many photos' worth: what all people's photos say of how near those of one person are
    """

    what: str
    closeness: Callable[[np.ndarray], np.ndarray]
    value: Callable[[float], float]
    closest: float
    bounds: tuple[float, float]
    prior: float


# One and one tenth percent of the person's own photos, by Gauss.
EMBEDDINGS = Measure(
    "embeddings",
    lambda cosine: np.arctanh(cosine.clip(-NEAREST_COSINE, NEAREST_COSINE)),
    lambda closeness: float(np.tanh(closeness)),
    closest=0.97,
    bounds=(2.33, 3.09),
    prior=PRIOR_WEIGHT,
)
# Two and a half and one and a half percent by Student, as in `weighing`: some hold their head as in a photo by chance.
LOOKS = Measure(
    "looks",
    lambda apart_px: -np.log(apart_px),
    lambda closeness: float(np.exp(-closeness)),
    closest=0.06,
    bounds=(2.78, 3.4),
    prior=12.0,
)


@dataclass(frozen=True, eq=False)
class Nearness:
    """How near to each other the photos of one person are: the closeness of each to the nearest other one.

    means      float64 [people]
    deviation  how far it strays, for all of them
    counts     int [people]: photos of each
    """

    measure: Measure
    means: np.ndarray
    deviation: float
    counts: np.ndarray

    def bounds(self, person: int) -> tuple[float, float]:
        """The values up to which a face is no copy of the nearest photo, and from which it is one."""
        kept, pasted = self._bounds(person)
        return self.measure.value(kept), self.measure.value(pasted)

    def verdict(self, person: int, value: float) -> Name:
        """Kept or pasted, unclear between the bounds; kept where a copy would not stand out."""
        closeness = float(self.measure.closeness(np.array(value)))
        kept, pasted = self._bounds(person)
        if closeness <= kept or not self.tells_copies(person):
            return "kept"
        return "pasted" if closeness > pasted else "unclear"

    def tells_copies(self, person: int) -> bool:
        """Whether the person's photos differ enough that a copy of one would stand out.

        Without two photos of anybody nothing but a prior says how near to each other photos are.
        """
        closest = float(self.measure.closeness(np.array(self.measure.closest)))
        return bool(self.counts.max() > 1) and self._bounds(person)[1] < closest

    def _bounds(self, person: int) -> tuple[float, float]:
        # Two photos that are nearest to each other say the same twice.
        wider = self.deviation * np.sqrt(1 + 2 / (self.counts[person] + self.measure.prior))
        kept, pasted = (float(self.means[person] + bound * wider) for bound in self.measure.bounds)
        return kept, pasted


def calibrate(people: Sequence[Person], levels: Levels) -> Calibration:
    """The calibration of one recognizer on the people's own photos, with `levels` where these are few."""
    stacks = [person.embeddings for person in people]
    counts = np.array([len(stack) for stack in stacks])
    pairs = _Pairs.of(stacks)
    same = _mean_of([each.mean() for each in pairs.own], levels.same)
    stranger = _mean_of(pairs.means, levels.other)
    same_sd = _deviation([each.mean(axis=1) - each.mean() for each in pairs.own], levels.same_sd)
    other_sd = _deviation([each.mean(axis=1) - each.mean() for each in pairs.others], levels.other_sd)
    between = _deviation([pairs.means - stranger], levels.other_sd, freedom=0)
    stranger_sd = float(np.hypot(between, other_sd))
    expected, expected_se = _expected(stacks, same, stranger, (same_sd, other_sd))
    return Calibration(
        expected=expected,
        expected_se=expected_se,
        same_sd=same_sd,
        other_sd=other_sd,
        same=same,
        stranger=stranger,
        stranger_sd=stranger_sd,
        photo_sd=_deviation([_about_rows(each) for each in pairs.own], levels.same_sd),
        counts=counts,
        # The derivative of arctanh carries the deviation over.
        nearest=_nearness(
            EMBEDDINGS,
            [_own(stack).max(axis=1) if len(stack) > 1 else np.zeros(0) for stack in stacks],
            (float(np.arctanh(levels.same)), levels.same_sd / (1 - levels.same**2)),
            counts,
        ),
        look=_looks(people, counts),
        threshold=_threshold(same, same_sd, stranger, stranger_sd, int(counts.sum())),
        measured_on=(int((counts * (counts - 1) // 2).sum()), int((counts.sum() ** 2 - (counts**2).sum()) // 2)),
    )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Cosines of pairs of photos.

    own     of everybody with several photos, of each photo [k] those with the others [k - 1]
    others  of two people, of each photo of the first those with the second's; both ways round
    means   of the same, each two people once
    """

    own: list[np.ndarray]
    others: list[np.ndarray]
    means: np.ndarray

    @classmethod
    def of(cls, stacks: Sequence[np.ndarray]) -> "_Pairs":
        own = [_own(stack) for stack in stacks if len(stack) > 1]
        both = [(first, second) for first in range(len(stacks)) for second in range(len(stacks)) if first != second]
        others = [stacks[first] @ stacks[second].T for first, second in both]
        once = [block.mean() for (first, second), block in zip(both, others, strict=True) if first < second]
        return cls(own, others, np.array(once))


def _expected(
    stacks: Sequence[np.ndarray], same: float, stranger: float, deviations: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """What a face of each person has with everybody, drawn towards the common means where photos are few; its error."""
    count = len(stacks)
    expected, errors = np.empty((2, count, count))
    for first in range(count):
        for second in range(count):
            one = first == second
            photos = 0 if one and len(stacks[first]) < 2 else min(len(stacks[first]), len(stacks[second]))
            pairs = _own(stacks[first]) if one else stacks[first] @ stacks[second].T
            mean, prior, pull = (pairs.mean() if photos else 0.0), (stranger, same)[one], (1.0, PRIOR_WEIGHT)[one]
            expected[first, second] = (photos * mean + pull * prior) / (photos + pull)
            errors[first, second] = deviations[0 if one else 1] / np.sqrt(photos + pull)
    return expected, errors


def _own(stack: np.ndarray) -> np.ndarray:
    """Of each photo of a person [k] its cosines with the others [k - 1]."""
    count = len(stack)
    return (stack @ stack.T)[~np.eye(count, dtype=bool)].reshape(count, count - 1)


def _about_rows(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=1, keepdims=True)).ravel() if values.shape[1] > 1 else np.zeros(0)


def _mean_of(values: Sequence[float] | np.ndarray, prior: float) -> float:
    return float((np.sum(values) + PRIOR_WEIGHT * prior) / (len(values) + PRIOR_WEIGHT))


def _deviation(residuals: Sequence[np.ndarray], prior: float, freedom: int = 1) -> float:
    """Standard deviation of residuals, each list about a mean of its own, with a prior that few of them do not move."""
    squares = sum(float((each**2).sum()) for each in residuals)
    count = sum(max(each.size - freedom, 0) for each in residuals)
    return float(np.sqrt((squares + PRIOR_WEIGHT * prior**2) / (count + PRIOR_WEIGHT)))


def _looks(people: Sequence[Person], counts: np.ndarray) -> Nearness | None:
    albums = [person.album for person in people]
    own = [album.own_px() for album in albums if album is not None]
    return _nearness(LOOKS, own, USUAL_LOOKS, counts) if len(own) == len(albums) else None


def _nearness(
    measure: Measure, nearest: Sequence[np.ndarray], usual: tuple[float, float], counts: np.ndarray
) -> Nearness:
    """From the values of each photo with the nearest other one; `usual` are closeness and deviation before any."""
    reached = [measure.closeness(each.astype(np.float64)) for each in nearest]
    several = [each for each in reached if each.size]
    pooled = _mean_of([each.mean() for each in several], usual[0])
    means = [(each.sum() + measure.prior * pooled) / (each.size + measure.prior) for each in reached]
    # About the means that are drawn together: a person's few photos do not tell their own mean well.
    residuals = [each - mean for each, mean in zip(reached, means, strict=True) if each.size]
    return Nearness(measure, np.array(means), _deviation(residuals, usual[1]), counts)


def _threshold(same: float, same_sd: float, other: float, other_sd: float, photos: int) -> tuple[float, float, float]:
    """Where both densities are equal between their means, and how far that is uncertain with so many photos."""
    places = np.linspace(other, same, 1001)
    odds = _log_density(places, same, same_sd) - _log_density(places, other, other_sd)
    middle = float(places[np.abs(odds).argmin()])
    reach = 1.96 * float(np.hypot(same_sd, other_sd)) / (2 * np.sqrt(photos + PRIOR_WEIGHT))
    return middle, middle - reach, middle + reach


def _log_density(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation)
