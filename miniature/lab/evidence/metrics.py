"""What the rows of the results come to: who stands where, what the prompt still says, whether the meters are right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from training.evaluation.records import Line

from ..ablation.trial import trial_figures
from .dataset import COUNTS, PEOPLE
from .evaluate import Judged
from .figures import Figure, mean, percentage, ranking, ratio, unmeasured
from .images import GENERATED, adherence
from .sections import SEEDS, AskedRow, ExchangedRow, PickedRow, Rows

WORDS = ("one", "two", "three", "four")
PLACED = {1: 75.0, 2: 75.0, 3: 70.0, 4: 70.0}
FOUND, SHORT_LISTED, EXCHANGED = 98.0, 95.0, 97.0
LEAST_SETS = 12
SHORT_LIST = 10


def places_figures(
    asked: Sequence[AskedRow], exchanged: Sequence[ExchangedRow], people: int = PEOPLE
) -> tuple[Figure, ...]:
    """Who of so many people is in which box. Faces that were not found count as missed, but for chance."""
    return (
        *_named(asked),
        _chance(asked, people),
        *_exchanged(asked, exchanged),
        _away(asked),
        *_likeness(asked),
        percentage("the judge itself: the drawn face shows its identity", _hits(asked, lambda row: row.drawn)),
    )


def prompt_figures(asked: Sequence[AskedRow]) -> tuple[Figure, ...]:
    """What captions got, with people and at weight 0. A person without one face in the box is missed."""
    return (
        *adherence([row.said for row in asked], "images with people", GENERATED),
        *adherence([row.alone_said for row in asked], "images at weight 0", GENERATED),
    )


def meter_figures(asked: Sequence[AskedRow], picked: Sequence[PickedRow]) -> tuple[Figure, ...]:
    """Whether Identity Meter's verdict is who was asked for, and what Pick Best gains over any image."""
    several = [row for row in asked if len(row.people) > 1]
    own, others = ([_scores(row.meter, own=own) for row in several] for own in (True, False))
    figures = [
        ranking("Identity Meter ranks the person asked for over the image's others", own, others),
        ranking(
            "Identity Meter ranks faces generated with their person over those at weight 0",
            [_scores(row.meter) for row in asked],
            [_scores(row.alone_meter) for row in asked],
        ),
        percentage("Identity Meter prefers who was asked for to everybody moved on by a box", _prefers(several)),
    ]
    for words, chosen in (
        ("the references alone", [row.likeness for row in picked]),
        ("a second photo", [row.second for row in picked]),
    ):
        figures.append(_gain(f"Sim(GT) by Pick Best of {SEEDS}, by {words}, over a random choice", picked, chosen))
    figures.append(mean("Sim(GT) of a random choice", np.array([np.mean(_sims(row)) for row in picked])))
    return tuple(figures)


def doctor_figures(rows: Iterable[Line]) -> tuple[Figure, ...]:
    """How far the doctor's risk goes with measured copy-paste; over fewer than LEAST_SETS sets there is no target."""
    found = trial_figures(rows)
    if not found or found[0].count < LEAST_SETS:
        name = f"correlation of the doctor's risk and copy-paste, over at least {LEAST_SETS} sets of photos"
        return (*found, unmeasured(name, target=0.0))
    return (replace(found[0], target=0.0, meets="interval"), *found[1:])


def _named(asked: Sequence[AskedRow]) -> list[Figure]:
    """Of each number of people the percentage of boxes that show their identity."""
    figures = []
    for count, word in zip(COUNTS, WORDS, strict=True):
        rows = [row for row in asked if len(row.people) == count]
        name = f"box shows its identity, {word} {'person' if count == 1 else 'people'}"
        figures.append(percentage(name, _hits(rows, lambda row: row.asked.nearest), PLACED[count]))
    ranks = [rank for row in asked for rank in row.asked.ranks]
    return [
        *figures,
        percentage(
            f"its identity is among the {SHORT_LIST} nearest",
            [rank is not None and rank < SHORT_LIST for rank in ranks],
            SHORT_LISTED,
        ),
        percentage("exactly one face in the box", [n == 1 for row in asked for n in row.asked.faces], FOUND),
    ]


def _chance(asked: Sequence[AskedRow], people: int) -> Figure:
    """At weight 0, of the faces found in boxes."""
    pairs = [pair for row in asked for pair in zip(row.alone.nearest, row.people, strict=True)]
    hits = [face == person for face, person in pairs if face is not None]
    name = "face in a box shows its identity at weight 0"
    if not hits:
        return unmeasured(name, "%", 100 / people)
    return replace(percentage(name, hits, 100 / people), meets="around")


def _exchanged(asked: Sequence[AskedRow], exchanged: Sequence[ExchangedRow]) -> list[Figure]:
    before = {row.number: row.asked for row in asked}
    both = [(before[row.number], row.judged, list(row.people)) for row in exchanged if row.number in before]
    swapped = [list(first.nearest) == people and list(second.nearest) == people[::-1] for first, second, people in both]
    nearer = [found for _, second, _ in both for found in _nearer(second)]
    return [
        percentage("exchanged boxes: the face is more like the one asked for now", nearer, EXCHANGED),
        percentage("both boxes of an image show their identity, and each other's after the exchange", swapped),
    ]


def _nearer(exchanged: Judged) -> list[bool]:
    """Whether box k's face is more like the other person."""
    return [row is not None and row[1 - place] > row[place] for place, row in enumerate(exchanged.likeness)]


def _away(asked: Sequence[AskedRow]) -> Figure:
    rows = [row for row in asked if row.by_seed is not None]
    changed, by_seed = (np.array([getattr(row, name) for row in rows]) for name in ("changed", "by_seed"))
    name = "change outside the boxes by the people, against that by another seed at weight 0"
    return ratio(name, changed, by_seed, target=1.0, at_most=True)


def _likeness(asked: Sequence[AskedRow]) -> list[Figure]:
    """The judge's scores, which have no target here."""
    figures = []
    for name, key in (("Sim(GT)", "sim_gt"), ("Sim(Ref)", "sim_ref"), ("copy-paste", "copy_paste")):
        for where in ("asked", "alone"):
            values = [getattr(getattr(row, where), key) for row in asked]
            known = np.array([value for value in values if value is not None])
            if len(known):
                figures.append(mean(f"{name} {'with people' if where == 'asked' else 'at weight 0'}", known))
    return figures


def _hits(rows: Sequence[AskedRow], nearest: Callable[[AskedRow], Sequence[int | None]]) -> list[bool]:
    return [face == person for row in rows for face, person in zip(nearest(row), row.people, strict=True)]


def _scores(rows: Rows, own: bool = True) -> list[float]:
    """Likenesses of the faces that were found with their own person, or with the image's others."""
    return [
        value
        for place, row in enumerate(rows)
        for other, value in enumerate(row)
        if (place == other) == own and value is not None
    ]


def _prefers(rows: Sequence[AskedRow]) -> list[bool]:
    """Whether the sum over the people as asked is above that with everyone in the next one's box; lost ones are 0."""
    verdicts = []
    for row in rows:
        likeness = np.array([[0.0 if value is None else value for value in each] for each in row.meter])
        verdicts.append(bool(np.trace(likeness) > np.trace(np.roll(likeness, 1, axis=1))))
    return verdicts


def _sims(row: PickedRow) -> list[float]:
    return [0.0 if each.sim_gt is None else each.sim_gt for each in row.judged]


def _gain(name: str, picked: Sequence[PickedRow], chosen: Sequence[int]) -> Figure:
    """Of each sample the chosen image's score less the mean of all, which is what a random choice comes to."""
    gains = [_sims(row)[best] - np.mean(_sims(row)) for row, best in zip(picked, chosen, strict=True)]
    return replace(mean(name, np.array(gains), target=0.0), meets="interval")
