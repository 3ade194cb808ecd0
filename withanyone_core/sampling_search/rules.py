"""What is asked of everybody in an image: a window of similarity and a ceiling of copy-paste. The worst counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics.case import CaseScores, IdentityScore

LOST = 2.0  # no cosine is farther from a window than that


@dataclass(frozen=True)
class PersonScore:
    """One person in one image.

    similarity  cosine -1..1 with their second photo, else with their reference; 0 for a lost face
    copy_paste  -1 (the second photo itself) to +1 (the reference itself); None where it is unknown: no second photo
    lost        whether no face was found for them
    """

    similarity: float
    copy_paste: float | None = None
    lost: bool = False


People = tuple[PersonScore, ...]


@dataclass(frozen=True)
class Rules:
    """A window of similarity, not a goal: an image above it is as wrong as one below.

    lowest, highest  the window, cosines -1..1
    copy_paste       the most copy-paste that anybody may show, -1..1; where it is unknown, nothing is asked

    Raises ValueError for a window without room and for numbers that no score can reach.
    """

    lowest: float
    highest: float
    copy_paste: float

    def __post_init__(self) -> None:
        if not -1.0 <= self.lowest <= self.highest <= 1.0:
            raise ValueError(
                f"The window of similarity goes from {self.lowest:g} to {self.highest:g}; expected two numbers from "
                "-1 to 1, the lowest first. 0.45 to 0.75 is usual."
            )
        if not -1.0 <= self.copy_paste <= 1.0:
            raise ValueError(f"The ceiling of copy-paste is {self.copy_paste:g}; expected a number from -1 to 1.")

    def distance(self, person: PersonScore) -> float:
        """How far a person is from what is asked; 0 inside."""
        if person.lost:
            return LOST
        outside = max(self.lowest - person.similarity, person.similarity - self.highest, 0.0)
        return outside + self._copied(person)

    def order(self, people: People) -> tuple[float, float]:
        """What images are sorted by, best first: the distance of the worst person, then the mean of all."""
        distances = [self.distance(person) for person in people]
        return max(distances), float(np.mean(distances))

    def hold(self, people: People) -> bool:
        """Whether everybody is inside the window and below the ceiling."""
        return self.order(people)[0] == 0.0

    def direction(self, person: PersonScore) -> int:
        """Which way a person's weight should go: 1 up, -1 down, 0 where it is right or no weight serves both."""
        low = person.lost or person.similarity < self.lowest
        high = not person.lost and (person.similarity > self.highest or self._copied(person) > 0)
        return low - high

    def _copied(self, person: PersonScore) -> float:
        return 0.0 if person.copy_paste is None else max(person.copy_paste - self.copy_paste, 0.0)


def people_of(scores: CaseScores) -> People:
    """Everybody in a measured image, in the order of the references.

    Raises ValueError for somebody with whom nothing can be compared.
    """
    return tuple(_person(scores, identity) for identity in scores.identities)


def moved(people: People, offsets: Sequence[PersonScore]) -> People:
    """The people with each one's offset added; unknown and lost ones stay as they are."""
    return tuple(_moved(person, offset) for person, offset in zip(people, offsets, strict=True))


def mean_offsets(pairs: Sequence[tuple[People, People]]) -> People:
    """For each person how much the second of each pair lies above the first on average; 0 where nothing is known.

    Raises ValueError without a pair, whose people nobody knows.
    """
    if not pairs:
        raise ValueError("Nothing was finished, so nothing is known about how estimates change; expected a pair.")
    return tuple(_mean_offset([(first[k], second[k]) for first, second in pairs]) for k in range(len(pairs[0][0])))


def _mean_offset(pairs: Sequence[tuple[PersonScore, PersonScore]]) -> PersonScore:
    found = [pair for pair in pairs if not (pair[0].lost or pair[1].lost)]
    similarity = [second.similarity - first.similarity for first, second in found]
    copied = [
        second.copy_paste - first.copy_paste
        for first, second in found
        if first.copy_paste is not None and second.copy_paste is not None
    ]
    return PersonScore(float(np.mean(similarity or [0.0])), float(np.mean(copied or [0.0])))


def _moved(person: PersonScore, offset: PersonScore) -> PersonScore:
    if person.lost:
        return person
    copied = None if person.copy_paste is None else person.copy_paste + (offset.copy_paste or 0.0)
    return PersonScore(person.similarity + offset.similarity, copied)


def _person(scores: CaseScores, identity: IdentityScore) -> PersonScore:
    similarity = identity.sim_ref if scores.truth_faces is None else identity.sim_gt
    if identity.lost:
        return PersonScore(0.0, None, lost=True)
    if similarity is None:
        name = identity.person or f"person {identity.identity + 1}"
        raise ValueError(
            f"The judge finds no face in the photo of {name} that the image is compared with, so how alike they are "
            "is unknown. Give another photo, or another judge as face_analysis."
        )
    return PersonScore(similarity, identity.copy_paste)
