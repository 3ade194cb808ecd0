"""What the ledger's lines come to: who stands where, what the prompt still says, whether the meters are right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from training.evaluation.records import Line

from ..ablation.trial import trial_figures
from .casting import COUNTS, PEOPLE
from .chapters import SEEDS, AskedLine, ExchangedLine, PickedLine, Rows
from .examining import Judged
from .figures import Figure, mean, nothing, ranking, ratio, share

WORDS = ("one", "two", "three", "four")
PLACED = {1: 90.0, 2: 90.0, 3: 80.0, 4: 80.0}
FOLLOWED = 80.0
CHANCE = 100 / PEOPLE
LEAST_SETS = 12
SHORT_LIST = 10


def places_figures(asked: Sequence[AskedLine], exchanged: Sequence[ExchangedLine]) -> tuple[Figure, ...]:
    """Who is in which box. Faces that were not found count as missed, but for chance."""
    return (
        *_named(asked),
        _chance(asked),
        *_exchanged(asked, exchanged),
        _away(asked),
        *_likeness(asked),
        share("the judge itself: the drawn face shows its identity", _hits(asked, lambda line: line.drawn)),
    )


def prompt_figures(asked: Sequence[AskedLine]) -> tuple[Figure, ...]:
    """What captions got, with people and at weight 0. In pictures with another number of faces nobody counts."""
    figures = []
    for where, target, said in (
        ("with people", FOLLOWED, [line.said for line in asked]),
        ("at weight 0", None, [line.alone_said for line in asked]),
    ):
        figures += [
            share(f"direction {where}, a face", np.concatenate([each.directions for each in said]), target),
            share(f"expression {where}, a face", np.concatenate([each.expressions for each in said]), target),
            share(f"light {where}", [each.light for each in said], target),
            share(f"place {where}", [each.place for each in said]),
            share(f"number of people {where}", [each.count for each in said]),
        ]
    return tuple(figures)


def meter_figures(asked: Sequence[AskedLine], picked: Sequence[PickedLine]) -> tuple[Figure, ...]:
    """Whether Identity Meter's verdict is who was asked for, and what Pick Best gains over any picture."""
    several = [line for line in asked if len(line.people) > 1]
    own, others = ([_scores(line.meter, own=own) for line in several] for own in (True, False))
    figures = [
        ranking("Identity Meter ranks the person asked for over the picture's others", own, others),
        ranking(
            "Identity Meter ranks faces painted with their person over those at weight 0",
            [_scores(line.meter) for line in asked],
            [_scores(line.alone_meter) for line in asked],
        ),
        share("Identity Meter prefers who was asked for to everybody moved on by a box", _prefers(several)),
    ]
    for words, chosen in (
        ("the references alone", [line.likeness for line in picked]),
        ("a second photo", [line.second for line in picked]),
    ):
        figures.append(_gain(f"Sim(GT) by Pick Best of {SEEDS}, by {words}, over a random choice", picked, chosen))
    figures.append(mean("Sim(GT) of a random choice", np.array([np.mean(_sims(line)) for line in picked])))
    return tuple(figures)


def doctor_figures(lines: Iterable[Line]) -> tuple[Figure, ...]:
    """How far the doctor's risk goes with measured copy-paste; over fewer than LEAST_SETS sets nothing is claimed."""
    found = trial_figures(lines)
    if not found or found[0].count < LEAST_SETS:
        name = f"correlation of the doctor's risk and copy-paste, over at least {LEAST_SETS} sets of photos"
        return (*found, nothing(name, target=0.0))
    return (replace(found[0], target=0.0, meets="interval"), *found[1:])


def _named(asked: Sequence[AskedLine]) -> list[Figure]:
    """Of each number of people the share of boxes that show their identity."""
    figures = []
    for count, word in zip(COUNTS, WORDS, strict=True):
        lines = [line for line in asked if len(line.people) == count]
        name = f"box shows its identity, {word} {'person' if count == 1 else 'people'}"
        figures.append(share(name, _hits(lines, lambda line: line.asked.nearest), PLACED[count]))
    ranks = [rank for line in asked for rank in line.asked.ranks]
    return [
        *figures,
        share(
            f"its identity is among the {SHORT_LIST} nearest",
            [rank is not None and rank < SHORT_LIST for rank in ranks],
        ),
        share("boxes without a face", [rank is None for rank in ranks]),
    ]


def _chance(asked: Sequence[AskedLine]) -> Figure:
    """At weight 0, of the faces found in boxes."""
    pairs = [pair for line in asked for pair in zip(line.alone.nearest, line.people, strict=True)]
    hits = [face == person for face, person in pairs if face is not None]
    name = "face in a box shows its identity at weight 0"
    if not hits:
        return nothing(name, "%", CHANCE)
    return replace(share(name, hits, CHANCE), meets="around")


def _exchanged(asked: Sequence[AskedLine], exchanged: Sequence[ExchangedLine]) -> list[Figure]:
    before = {line.number: line.asked for line in asked}
    both = [(before[line.number], line.judged, list(line.people)) for line in exchanged if line.number in before]
    swapped = [list(first.nearest) == people and list(second.nearest) == people[::-1] for first, second, people in both]
    nearer = [found for _, second, _ in both for found in _nearer(second)]
    return [
        share("after the exchange of two boxes, the face in a box is more like the one asked for now", nearer, 90.0),
        share("both boxes of a picture show their identity, and each other's after the exchange", swapped),
    ]


def _nearer(exchanged: Judged) -> list[bool]:
    """Whether box k's face is more like the other person."""
    return [row is not None and row[1 - place] > row[place] for place, row in enumerate(exchanged.likeness)]


def _away(asked: Sequence[AskedLine]) -> Figure:
    lines = [line for line in asked if line.by_seed is not None]
    changed, by_seed = (np.array([getattr(line, name) for line in lines]) for name in ("changed", "by_seed"))
    name = "change outside the boxes by the people, against that by another seed at weight 0"
    return ratio(name, changed, by_seed, target=1.0, at_most=True)


def _likeness(asked: Sequence[AskedLine]) -> list[Figure]:
    """The judge's scores, which have no target here."""
    figures = []
    for name, key in (("Sim(GT)", "sim_gt"), ("Sim(Ref)", "sim_ref"), ("copy-paste", "copy_paste")):
        for where in ("asked", "alone"):
            values = [getattr(getattr(line, where), key) for line in asked]
            known = np.array([value for value in values if value is not None])
            if len(known):
                figures.append(mean(f"{name} {'with people' if where == 'asked' else 'at weight 0'}", known))
    return figures


def _hits(lines: Sequence[AskedLine], nearest: Callable[[AskedLine], Sequence[int | None]]) -> list[bool]:
    return [face == person for line in lines for face, person in zip(nearest(line), line.people, strict=True)]


def _scores(rows: Rows, own: bool = True) -> list[float]:
    """Likenesses of the faces that were found with their own person, or with the picture's others."""
    return [
        value
        for place, row in enumerate(rows)
        for other, value in enumerate(row)
        if (place == other) == own and value is not None
    ]


def _prefers(lines: Sequence[AskedLine]) -> list[bool]:
    """Whether the sum over the people as asked is above that with everyone in the next one's box; lost ones are 0."""
    verdicts = []
    for line in lines:
        rows = np.array([[0.0 if value is None else value for value in row] for row in line.meter])
        verdicts.append(bool(np.trace(rows) > np.trace(np.roll(rows, 1, axis=1))))
    return verdicts


def _sims(line: PickedLine) -> list[float]:
    return [0.0 if each.sim_gt is None else each.sim_gt for each in line.judged]


def _gain(name: str, picked: Sequence[PickedLine], chosen: Sequence[int]) -> Figure:
    """Of each cast the chosen picture's score less the mean of all, which is what a random choice comes to."""
    gains = [_sims(line)[best] - np.mean(_sims(line)) for line, best in zip(picked, chosen, strict=True)]
    return replace(mean(name, np.array(gains), target=0.0), meets="interval")
