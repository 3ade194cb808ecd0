"""Sample Until Alike on images generated once: every draw is sampled to the end and judged at each fraction, and the
pack's own search is then run over what was judged, so that all fractions are compared on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.identity import Face
from withanyone_core.metrics.judges import Judge
from withanyone_core.sampling_search.judging import SearchJudge
from withanyone_core.sampling_search.rules import People, PersonScore, Rules
from withanyone_core.sampling_search.search import Draw, Plan, Sampling, SearchResult, search

from ...generation import STEPS
from ..steering import AT_ONCE, ImageRequest
from .dataset import COUNTS, Dataset, Sample
from .evaluate import Judged
from .figures import Figure, mean, percentage, ratio, unmeasured
from .metrics import WORDS
from .results import Results
from .sections import ANOTHER_SEED, Studio

SECTION, SERIES = "alike", 4
DRAWS = 8
CUTS = (1, 2, 3, 4, 5, 6, 8, 10)  # steps after which draws are judged, of STEPS
CUT, FINISH = 5, 2  # the node's defaults: 0.25 of the steps, two draws sampled to the end
# Of the settings that MOST_FORWARDS allows, the best on seed 0. Not the defaults: after a tenth of the steps a large
# base has only planned its image, while this small one shows its faces.
EARLY_CUT, EARLY_FINISH = 2, 3
MOST_FORWARDS, GAIN, SELDOM = 45.0, 1.5, 60.0
BEST = Rules(0.98, 1.0, 1.0)  # a window that nobody reaches: the most similar draw
WINDOW = Rules(0.6, 0.9, 0.2)
Scores = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class AlikeRow:
    """One sample from DRAWS seeds.

    estimates  of each draw, after each of CUTS steps, everybody's score as the search sees it, by second photos
    finals     of each draw everybody's score at the end
    judged     each finished draw held against the drawn scene
    """

    number: int
    people: Sequence[int]
    estimates: Sequence[Sequence[Scores]]
    finals: Sequence[Scores]
    judged: Sequence[Judged]


class JudgedFaces:
    """A face analysis that finds faces by the pack's detector, and whose embeddings are a judge's."""

    def __init__(self, analysis: FaceAnalysis, judge: Judge) -> None:
        self.model_name = judge.info.name
        self._analysis, self._judge = analysis, judge

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        found = self._analysis.faces(photo)
        pairs = zip(found, self._judge.embed(photo, found), strict=True)
        return tuple(replace(face, embedding=embedding) for face, embedding in pairs)


def write_alike(studio: Studio, results: Results, images: int) -> None:
    """So many samples for each number of people, each from DRAWS seeds."""
    done = results.rows(SECTION)
    left = [each for each in studio.dataset.samples(SERIES, images) if each.seed not in done]
    at_once = max(AT_ONCE // DRAWS, 1)
    for start in range(0, len(left), at_once):
        results.append(SECTION, _measured(studio, left[start : start + at_once]))


def read_alike(dataset: Dataset, results: Results, images: int) -> list[AlikeRow]:
    """The rows of these samples that were measured."""
    done = results.rows(SECTION)
    rows = [done[each.seed] for each in dataset.samples(SERIES, images) if each.seed in done]
    return [AlikeRow(**row | {"judged": [Judged(**each) for each in row["judged"]]}) for row in rows]


def replay(row: AlikeRow, rules: Rules, cut: int = CUT, finish: int = FINISH) -> tuple[int, SearchResult]:
    """The search over a row's draws: which of them it keeps, and what it spent."""
    spent = 0

    def draw(seed: int, weights: tuple[float, ...]) -> Draw:
        nonlocal spent
        spent += cut
        return Draw((seed, CUTS.index(cut)), lambda: finished(seed))

    def finished(seed: int) -> tuple[int, None]:
        nonlocal spent
        spent += STEPS - cut
        return seed, None

    def judge(image: tuple[int, int | None]) -> People:
        seed, place = image
        scores = row.finals[seed] if place is None else row.estimates[seed][place]
        return tuple(PersonScore(**score) for score in scores)

    plan = Plan(tuple(range(len(row.finals))), finish, (1.0,) * len(row.people))
    found = search(plan, rules, Sampling(draw, lambda latent: latent, judge, lambda: spent))
    return found.best.seed, found


def best_of_all(row: AlikeRow, rules: Rules = BEST) -> int:
    """Which draw is best where all are sampled to the end."""
    people = [tuple(PersonScore(**score) for score in final) for final in row.finals]
    return min(range(len(people)), key=lambda place: rules.order(people[place]))


def alike_figures(rows: Sequence[AlikeRow], cut: int = CUT, finish: int = FINISH) -> tuple[Figure, ...]:
    """The search, by the node's defaults if not said, against one draw and against the best of all draws."""
    found = [replay(row, BEST, cut, finish) for row in rows]
    kept = [place for place, _ in found]
    best = [best_of_all(row) for row in rows]
    one, searched, full = _sims(rows, None), _sims(rows, kept), _sims(rows, best)
    return (
        mean("Sim(GT) of one draw", one),
        mean(f"Sim(GT) of the best of {DRAWS}", full),
        mean("Sim(GT) of the search", searched),
        replace(mean(f"Sim(GT) of the search over the best of {DRAWS}", searched - full, target=0.0), meets="around"),
        mean("forwards of the search", _cost(found), unit="%", target=MOST_FORWARDS, at_most=True),
        *_right(rows, kept, best),
        mean(
            "copy-paste of the search over one draw",
            _copied(rows, kept) - _copied(rows, None),
            target=0.0,
            at_most=True,
        ),
    )


def window_figures(rows: Sequence[AlikeRow]) -> tuple[Figure, ...]:
    """What a window that can be reached spends and gets."""
    found = [replay(row, WINDOW) for row in rows]
    first = [WINDOW.hold(tuple(PersonScore(**score) for score in row.finals[0])) for row in rows]
    inside = [WINDOW.hold(result.best.people) for _, result in found]
    where = f"inside {WINDOW.lowest:g} to {WINDOW.highest:g}"
    return (
        percentage(f"everybody {where}, one draw", first),
        percentage(f"everybody {where}, the search", inside),
        mean("forwards of the search", _cost(found), unit="%"),
    )


def curve(rows: Sequence[AlikeRow]) -> str:
    """Which fraction decides how well, in Markdown: as many are finished as MOST_FORWARDS allows."""
    one, full = _sims(rows, None), _sims(rows, [best_of_all(row) for row in rows])
    lines = [
        f"| stop_at | finish | forwards | Sim(GT) | 95 % interval | of the gain of the best of {DRAWS} | right person "
        "in every box |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cut in CUTS:
        finish = _affordable(cut)
        if finish < 1:
            continue
        found = [replay(row, BEST, cut, finish) for row in rows]
        kept = [place for place, _ in found]
        sims = _sims(rows, kept)
        alike, gain = mean("", sims), ratio("", sims - one, full - one)
        right = percentage("", [_is_right(row, place) for row, place in zip(rows, kept, strict=True)])
        lines.append(
            f"| {cut / STEPS:g} | {finish} | {_cost(found).mean():.1f} % | {alike.value:.4f} | {alike.low:.4f} to "
            f"{alike.high:.4f} | {100 * gain.value:.0f} % ({100 * gain.low:.0f} to {100 * gain.high:.0f}) | "
            f"{right.value:.1f} % ({right.low:.1f} to {right.high:.1f}) |"
        )
    return "\n".join(lines) + "\n"


def _affordable(cut: int) -> int:
    """How many draws may be finished."""
    left = MOST_FORWARDS / 100 * DRAWS * STEPS - DRAWS * cut
    return min(int(left // (STEPS - cut)), DRAWS)


def _right(rows: Sequence[AlikeRow], kept: Sequence[int], best: Sequence[int]) -> list[Figure]:
    """The right person in every box: of one draw, of the search, and how many times as often, by number of people."""
    figures = []
    for count, word in ((None, "any number of"), *zip(COUNTS, WORDS, strict=True)):
        some = [place for place, row in enumerate(rows) if count in (None, len(row.people))]
        if not some:
            continue
        name = f"right person in every box, {word} {'person' if count == 1 else 'people'}"
        one = np.array([np.mean([_is_right(rows[k], draw) for draw in range(DRAWS)]) for k in some])
        searched = np.array([_is_right(rows[k], kept[k]) for k in some], float)
        figures += [
            mean(f"{name}, one draw", 100 * one, unit="%"),
            percentage(f"{name}, the search", searched > 0),
            percentage(f"{name}, the best of {DRAWS}", [_is_right(rows[k], best[k]) for k in some]),
        ]
        target = GAIN if 100 * one.mean() < SELDOM else None
        times = f"{name}, the search over one draw"
        figures.append(ratio(times, searched, one, target) if one.any() else unmeasured(times, target=target))
    return figures


def _is_right(row: AlikeRow, place: int) -> bool:
    return list(row.judged[place].nearest) == list(row.people)


def _sims(rows: Sequence[AlikeRow], kept: Sequence[int] | None) -> np.ndarray:
    """Sim(GT) of the kept draws, [rows]; None: the mean of all draws, which is what one comes to."""
    return _of_judged(rows, kept, "sim_gt")


def _copied(rows: Sequence[AlikeRow], kept: Sequence[int] | None) -> np.ndarray:
    return _of_judged(rows, kept, "copy_paste")


def _of_judged(rows: Sequence[AlikeRow], kept: Sequence[int] | None, name: str) -> np.ndarray:
    every = [[getattr(each, name) or 0.0 for each in row.judged] for row in rows]
    if kept is None:
        return np.array([np.mean(values) for values in every])
    return np.array([values[place] for values, place in zip(every, kept, strict=True)])


def _cost(found: Sequence[tuple[int, SearchResult]]) -> np.ndarray:
    """Forwards in % of those of DRAWS whole draws."""
    return np.array([100 * result.forwards / (DRAWS * STEPS) for _, result in found])


def _measured(studio: Studio, block: Sequence[Sample]) -> list[AlikeRow]:
    wanted = [
        studio.references.request(each, other_seed=number * ANOTHER_SEED) for each in block for number in range(DRAWS)
    ]
    finals, estimates = _generated(studio, wanted)
    return [
        _row(studio, each, finals[at * DRAWS :][:DRAWS], [estimates[cut][at * DRAWS :][:DRAWS] for cut in CUTS])
        for at, each in enumerate(block)
    ]


def _generated(studio: Studio, wanted: Sequence[ImageRequest]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The images, and after each of CUTS steps what their clean estimates decode to."""
    estimates: dict[int, list[np.ndarray]] = {cut: [] for cut in CUTS}

    def watch(start: int, step: int, clean: Tensor) -> None:
        if step in estimates:
            estimates[step].append(studio.generator.generator.decode(clean))

    finals = studio.generator.generate(wanted, weights=studio.weights, what=f"{DRAWS} draws each", watch=watch)
    return finals, {cut: np.concatenate(parts) for cut, parts in estimates.items()}


def _row(studio: Studio, one: Sample, finals: np.ndarray, estimates: Sequence[np.ndarray]) -> AlikeRow:
    """`estimates` are by cut and then by draw."""
    faces = JudgedFaces(studio.evaluator.analysis, studio.evaluator.judge)
    judge = SearchJudge(studio.references.placed(one), faces, studio.dataset.second_photos(one))
    return AlikeRow(
        number=one.seed,
        people=one.people,
        estimates=[[_scores(judge, part[draw]) for part in estimates] for draw in range(DRAWS)],
        finals=[_scores(judge, image) for image in finals],
        judged=[studio.evaluator.judged(image, one) for image in finals],
    )


def _scores(judge: SearchJudge, image: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"similarity": person.similarity, "copy_paste": person.copy_paste, "lost": person.lost}
        for person in judge.judge(image)
    ]
