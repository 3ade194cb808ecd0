"""Images generated and measured, section by section, into the results. Statistics are made of these rows alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from withanyone_core.adapter.shape import Branch
from withanyone_core.canvas import CELL_PX
from withanyone_core.injection.placed_people import members
from withanyone_core.meter.measuring import Meter
from withanyone_core.meter.picking import rank

from ...world.scene import SIDE_PX
from ..steering import AT_ONCE, SteeredGenerator
from .dataset import COUNTS, Dataset, References, Sample
from .evaluate import Evaluator, Judged
from .images import Verdict
from .results import Results

ASKED, EXCHANGED, PICKED = "asked", "exchanged", "picked"
ASKED_SERIES, PICKED_SERIES = 0, 1
SEEDS = 4  # that Pick Best chooses from
ANOTHER_SEED = 1_000_000
NOISE_EVERY = 4  # one row of images in so many is generated from a second seed without identities
Rows = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class AskedRow:
    """One sample, generated with its people and, from the same noise, without.

    drawn             whom the judge sees in the drawn scene
    said, alone_said  what the classifiers say of both images against the caption
    meter, alone_meter  Identity Meter's likeness of box k's face with reference j, of both images
    changed           mean absolute difference of both images outside the boxes' cells, in values of 255
    by_seed           the same of two images without people from two seeds, None where not measured
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
class ExchangedRow:
    """The sample of the same number with its boxes exchanged: place k of `judged` is still the scene's box k."""

    number: int
    people: Sequence[int]
    judged: Judged


@dataclass(frozen=True)
class PickedRow:
    """One sample from SEEDS seeds.

    judged      each image as the judge sees it
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
    """All that generates and measures; `weights` are the branches'."""

    generator: SteeredGenerator
    references: References
    evaluator: Evaluator
    weights: Mapping[Branch, float]

    @property
    def dataset(self) -> Dataset:
        return self.references.dataset

    def generate(self, images: Sequence[Sample], what: str, alone: bool = False, **changes: Any) -> np.ndarray:
        """The samples generated; `alone` at weight 0 of both branches, `changes` as of `References.request`."""
        weights = dict.fromkeys(self.weights, 0.0) if alone else self.weights
        requests = [self.references.request(each, **changes) for each in images]
        return self.generator.generate(requests, weights=weights, what=what)


def write_asked(studio: Studio, results: Results, images: int) -> None:
    """So many images for each number of people."""
    _write(studio, results, ASKED, studio.dataset.samples(ASKED_SERIES, images), _asked)


def write_exchanged(studio: Studio, results: Results, images: int) -> None:
    """So many images of two people."""
    _write(studio, results, EXCHANGED, _pairs(studio.dataset, images), _exchanged)


def write_picked(studio: Studio, results: Results, images: int) -> None:
    """So many samples of every number of people in turn, each from SEEDS seeds."""
    _write(studio, results, PICKED, _to_pick(studio.dataset, images), _picked)


def read_asked(dataset: Dataset, results: Results, images: int) -> list[AskedRow]:
    """The rows of these images that were measured."""
    return [
        AskedRow(
            **row
            | {name: Judged(**row[name]) for name in ("asked", "alone")}
            | {name: Verdict(**row[name]) for name in ("said", "alone_said")}
        )
        for row in _read(results, ASKED, dataset.samples(ASKED_SERIES, images))
    ]


def read_exchanged(dataset: Dataset, results: Results, images: int) -> list[ExchangedRow]:
    rows = _read(results, EXCHANGED, _pairs(dataset, images))
    return [ExchangedRow(**row | {"judged": Judged(**row["judged"])}) for row in rows]


def read_picked(dataset: Dataset, results: Results, images: int) -> list[PickedRow]:
    rows = _read(results, PICKED, _to_pick(dataset, images))
    return [PickedRow(**row | {"judged": [Judged(**each) for each in row["judged"]]}) for row in rows]


def _pairs(dataset: Dataset, images: int) -> list[Sample]:
    return [dataset.sample(ASKED_SERIES, row, 2) for row in range(images)]


def _to_pick(dataset: Dataset, images: int) -> list[Sample]:
    return [dataset.sample(PICKED_SERIES, row, COUNTS[row % len(COUNTS)]) for row in range(images)]


def _write(
    studio: Studio,
    results: Results,
    section: str,
    samples: Sequence[Sample],
    measure: Callable[[Studio, list[Sample]], list[Any]],
) -> None:
    done = results.rows(section)
    left = [each for each in samples if each.seed not in done]
    for start in range(0, len(left), AT_ONCE):
        results.append(section, measure(studio, left[start : start + AT_ONCE]))


def _read(results: Results, section: str, samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    done = results.rows(section)
    return [done[each.seed] for each in samples if each.seed in done]


def _asked(studio: Studio, block: list[Sample]) -> list[AskedRow]:
    asked = studio.generate(block, "with their people")
    alone = studio.generate(block, "at weight 0", alone=True)
    again = [place for place, each in enumerate(block) if each.row % NOISE_EVERY == 0]
    others = studio.generate([block[place] for place in again], "from other seeds", alone=True, other_seed=ANOTHER_SEED)
    noisy = dict(zip(again, others, strict=True))
    return [_asked_row(studio, each, asked[place], alone[place], noisy.get(place)) for place, each in enumerate(block)]


def _asked_row(studio: Studio, one: Sample, asked: np.ndarray, alone: np.ndarray, other: np.ndarray | None) -> AskedRow:
    evaluator = studio.evaluator
    scores = Meter(studio.references.placed(one), evaluator.analysis).measure([asked, alone]).scores
    return AskedRow(
        number=one.seed,
        people=one.people,
        asked=evaluator.judged(asked, one),
        alone=evaluator.judged(alone, one),
        drawn=evaluator.judged(one.truth, one).nearest,
        said=evaluator.adherence(asked, one),
        alone_said=evaluator.adherence(alone, one),
        meter=scores[0].likeness_ref,
        alone_meter=scores[1].likeness_ref,
        changed=changed_outside(one, asked, alone),
        by_seed=None if other is None else changed_outside(one, alone, other),
    )


def _exchanged(studio: Studio, block: list[Sample]) -> list[ExchangedRow]:
    generated = studio.generate(block, "exchanged", exchanged=True)
    return [
        ExchangedRow(one.seed, one.people, studio.evaluator.judged(image, one))
        for one, image in zip(block, generated, strict=True)
    ]


def _picked(studio: Studio, block: list[Sample]) -> list[PickedRow]:
    seeds = [number * ANOTHER_SEED for number in range(SEEDS)]
    generated = [studio.generate(block, f"seed {at + 1}", other_seed=seed) for at, seed in enumerate(seeds)]
    return [_picked_row(studio, one, [each[place] for each in generated]) for place, one in enumerate(block)]


def _picked_row(studio: Studio, one: Sample, images: list[np.ndarray]) -> PickedRow:
    analysis, placed = studio.evaluator.analysis, studio.references.placed(one)
    by_reference = Meter(placed, analysis).measure(images).scores
    by_second = Meter(placed, analysis, second_photos=studio.dataset.second_photos(one)).measure(images).scores
    return PickedRow(
        number=one.seed,
        people=one.people,
        judged=[studio.evaluator.judged(image, one) for image in images],
        likeness=rank(by_reference, "likeness")[0][0],
        second=rank(by_second, "likeness")[0][0],
    )


def changed_outside(one: Sample, first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two images where no box of the sample covers a cell; 0 where all is covered."""
    covered = members([one.boxes], SIDE_PX, SIDE_PX)[0].any(0).numpy()
    side = SIDE_PX // CELL_PX
    away = np.kron(~covered.reshape(side, side), np.ones((CELL_PX, CELL_PX), bool))
    difference = np.abs(first.astype(np.int16) - second.astype(np.int16))[away]
    return float(difference.mean()) if difference.size else 0.0
