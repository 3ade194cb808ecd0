"""Pictures painted and examined, chapter by chapter, into the ledger. Statistics are made of its lines alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import members
from withanyone_core.layout import CELL_PX
from withanyone_core.meter.measuring import Meter
from withanyone_core.meter.picking import picked

from ..recipes.scenes import SIZE_PX
from ..steering import AT_ONCE, SteeredPainter
from .casting import COUNTS, Cast, References, cast, casts, second_photos
from .examining import Examiner, Judged
from .ledger import Ledger
from .pictures import Verdict

ASKED, EXCHANGED, PICKED = "asked", "exchanged", "picked"
ASKED_SERIES, PICKED_SERIES = 0, 1
SEEDS = 4  # that Pick Best chooses from
ANOTHER_SEED = 1_000_000
NOISE_EVERY = 4  # one row of pictures in so many is painted from a second seed without identities
Rows = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class AskedLine:
    """One cast, painted with its people and, from the same noise, without.

    drawn             whom the judge sees in the drawn scene
    said, alone_said  what the classifiers say of both pictures against the caption
    meter, alone_meter  Identity Meter's likeness of box k's face with reference j, of both pictures
    changed           mean absolute difference of both pictures outside the boxes' cells, in levels of 255
    by_seed           the same of two pictures without people from two seeds, None where not measured
    """

    number: int
    people: Sequence[int]
    asked: Judged
    alone: Judged
    drawn: Sequence[int | None]
    said: Verdict
    alone_said: Verdict
    meter: Rows
    alone_meter: Rows
    changed: float
    by_seed: float | None


@dataclass(frozen=True)
class ExchangedLine:
    """The cast of the same number with its boxes exchanged: place k of `judged` is still the scene's box k."""

    number: int
    people: Sequence[int]
    judged: Judged


@dataclass(frozen=True)
class PickedLine:
    """One cast from SEEDS seeds.

    judged      each picture as the judge sees it
    likeness    which of them Pick Best keeps by "likeness" with the references alone
    second      the same with a second photo of each person
    """

    number: int
    people: Sequence[int]
    judged: Sequence[Judged]
    likeness: int
    second: int


@dataclass(frozen=True, eq=False)
class Studio:
    """All that paints and examines; `weights` are the branches'."""

    painter: SteeredPainter
    references: References
    examiner: Examiner
    weights: Mapping[Branch, float]

    def paint(self, pictures: Sequence[Cast], what: str, alone: bool = False, **changes: Any) -> np.ndarray:
        """The casts painted; `alone` at weight 0 of both branches, `changes` as of `References.wanted`."""
        weights = dict.fromkeys(self.weights, 0.0) if alone else self.weights
        wanted = [self.references.wanted(each, **changes) for each in pictures]
        return self.painter.paint(wanted, weights=weights, what=what)


def write_asked(studio: Studio, ledger: Ledger, pictures: int) -> None:
    """So many pictures for each number of people."""
    _write(ledger, ASKED, casts(ASKED_SERIES, pictures), lambda block: _asked(studio, block))


def write_exchanged(studio: Studio, ledger: Ledger, pictures: int) -> None:
    """So many pictures of two people."""
    _write(ledger, EXCHANGED, _pairs(pictures), lambda block: _exchanged(studio, block))


def write_picked(studio: Studio, ledger: Ledger, pictures: int) -> None:
    """So many casts of every number of people in turn, each from SEEDS seeds."""
    _write(ledger, PICKED, _to_pick(pictures), lambda block: _picked(studio, block))


def read_asked(ledger: Ledger, pictures: int) -> list[AskedLine]:
    """The lines of these pictures that were measured."""
    return [
        AskedLine(
            **line
            | {name: Judged(**line[name]) for name in ("asked", "alone")}
            | {name: Verdict(**line[name]) for name in ("said", "alone_said")}
        )
        for line in _read(ledger, ASKED, casts(ASKED_SERIES, pictures))
    ]


def read_exchanged(ledger: Ledger, pictures: int) -> list[ExchangedLine]:
    lines = _read(ledger, EXCHANGED, _pairs(pictures))
    return [ExchangedLine(**line | {"judged": Judged(**line["judged"])}) for line in lines]


def read_picked(ledger: Ledger, pictures: int) -> list[PickedLine]:
    lines = _read(ledger, PICKED, _to_pick(pictures))
    return [PickedLine(**line | {"judged": [Judged(**each) for each in line["judged"]]}) for line in lines]


def _pairs(pictures: int) -> list[Cast]:
    return [cast(ASKED_SERIES, row, 2) for row in range(pictures)]


def _to_pick(pictures: int) -> list[Cast]:
    return [cast(PICKED_SERIES, row, COUNTS[row % len(COUNTS)]) for row in range(pictures)]


def _write(ledger: Ledger, chapter: str, wanted: Sequence[Cast], made: Callable[[list[Cast]], list[Any]]) -> None:
    done = ledger.lines(chapter)
    open_casts = [each for each in wanted if each.seed not in done]
    for start in range(0, len(open_casts), AT_ONCE):
        ledger.append(chapter, made(open_casts[start : start + AT_ONCE]))


def _read(ledger: Ledger, chapter: str, wanted: Sequence[Cast]) -> list[Mapping[str, Any]]:
    done = ledger.lines(chapter)
    return [done[each.seed] for each in wanted if each.seed in done]


def _asked(studio: Studio, block: list[Cast]) -> list[AskedLine]:
    asked = studio.paint(block, "with their people")
    alone = studio.paint(block, "at weight 0", alone=True)
    again = [place for place, each in enumerate(block) if (each.seed - 1) // len(COUNTS) % NOISE_EVERY == 0]
    others = studio.paint([block[place] for place in again], "from other seeds", alone=True, other_seed=ANOTHER_SEED)
    noisy = dict(zip(again, others, strict=True))
    return [_asked_line(studio, each, asked[place], alone[place], noisy.get(place)) for place, each in enumerate(block)]


def _asked_line(studio: Studio, one: Cast, asked: np.ndarray, alone: np.ndarray, other: np.ndarray | None) -> AskedLine:
    examiner = studio.examiner
    scores = Meter(studio.references.placed(one), examiner.analysis).measure([asked, alone]).scores
    return AskedLine(
        number=one.seed,
        people=one.people,
        asked=examiner.judged(asked, one),
        alone=examiner.judged(alone, one),
        drawn=examiner.judged(one.drawn, one).nearest,
        said=examiner.adherence(asked, one),
        alone_said=examiner.adherence(alone, one),
        meter=scores[0].likeness_ref,
        alone_meter=scores[1].likeness_ref,
        changed=changed_outside(one, asked, alone),
        by_seed=None if other is None else changed_outside(one, alone, other),
    )


def _exchanged(studio: Studio, block: list[Cast]) -> list[ExchangedLine]:
    painted = studio.paint(block, "exchanged", exchanged=True)
    return [
        ExchangedLine(one.seed, one.people, studio.examiner.judged(picture, one))
        for one, picture in zip(block, painted, strict=True)
    ]


def _picked(studio: Studio, block: list[Cast]) -> list[PickedLine]:
    painted = [studio.paint(block, f"seed {number + 1}", other_seed=number * ANOTHER_SEED) for number in range(SEEDS)]
    return [_picked_line(studio, one, [each[place] for each in painted]) for place, one in enumerate(block)]


def _picked_line(studio: Studio, one: Cast, pictures: list[np.ndarray]) -> PickedLine:
    analysis, placed = studio.examiner.analysis, studio.references.placed(one)
    by_reference = Meter(placed, analysis).measure(pictures).scores
    by_second = Meter(placed, analysis, second_photos=second_photos(one)).measure(pictures).scores
    return PickedLine(
        number=one.seed,
        people=one.people,
        judged=[studio.examiner.judged(picture, one) for picture in pictures],
        likeness=picked(by_reference, "likeness")[0][0],
        second=picked(by_second, "likeness")[0][0],
    )


def changed_outside(one: Cast, first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two pictures where no box of the cast covers a cell; 0 where all is covered."""
    covered = members([one.boxes], SIZE_PX, SIZE_PX)[0].any(0).numpy()
    side = SIZE_PX // CELL_PX
    away = np.kron(~covered.reshape(side, side), np.ones((CELL_PX, CELL_PX), bool))
    difference = np.abs(first.astype(np.int16) - second.astype(np.int16))[away]
    return float(difference.mean()) if difference.size else 0.0
