"""Draws seeds, judges their clean estimates, finishes the best, and then looks for each person's weight.

Pure: what samples, decodes and judges is handed in, so that the same search runs in ComfyUI's sampler and on images
that were generated before.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .rules import People, Rules, mean_offsets, moved
from .weights import Bracket

Weights = tuple[float, ...]

INSIDE, SPENT, NO_WEIGHT, INTERRUPTED = "inside", "spent", "no weight", "interrupted"
OUTCOMES = {
    INSIDE: "everybody is inside the window",
    SPENT: "all draws are spent",
    NO_WEIGHT: "no weight within the bounds brings everybody nearer",
    INTERRUPTED: "interrupted",
}


@dataclass(frozen=True)
class Plan:
    """How much is spent.

    seeds           of the draws, in their order
    finish          how many of them are sampled to the end at most
    weights         of each person to begin with
    bounds          between which a person's weight is searched for; None leaves the weights alone
    weight_draws    how many draws the search for weights may spend

    Raises ValueError where nothing would be drawn or the bounds are the wrong way round.
    """

    seeds: tuple[int, ...]
    finish: int
    weights: Weights
    bounds: tuple[float, float] | None = None
    weight_draws: int = 0

    def __post_init__(self) -> None:
        if not self.seeds or self.finish < 1:
            raise ValueError(f"{len(self.seeds)} draws and {self.finish} finished were asked for; expected 1 or more.")
        if self.bounds is not None and not 0.0 < self.bounds[0] <= self.bounds[1]:
            raise ValueError(
                f"The bounds of the weights are {self.bounds[0]:g} and {self.bounds[1]:g}; expected the lowest first, "
                "and above 0."
            )


@dataclass(frozen=True, eq=False)
class Draw:
    """A seed that was sampled up to the fraction: its clean estimate, and what samples it to the end."""

    estimate: Any
    finish: Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Sampling:
    """What the search calls.

    draw      a seed with everybody's weight, sampled up to the fraction
    decode    a latent to an image
    judge     an image to everybody's scores
    forwards  how many forward passes of the base model were spent so far
    """

    draw: Callable[[int, Weights], Draw]
    decode: Callable[[Any], Any]
    judge: Callable[[Any], People]
    forwards: Callable[[], int]


@dataclass(frozen=True, eq=False)
class Trial:
    """One draw: a line of the table.

    estimate    the people at the fraction, None where it was interrupted before
    final       the people of the finished image, None where it was stopped
    forwards    what it cost
    ending      why it was stopped, or that it was finished
    latent, image   of the finished draw, else of the clean estimate
    """

    seed: int
    weights: Weights
    estimate: People
    forwards: int
    latent: Any
    image: Any
    final: People | None = None
    ending: str = "interrupted"

    @property
    def people(self) -> People:
        return self.estimate if self.final is None else self.final


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What was found, and all that was tried for it, in order.

    best      the finished draw that is nearest to the rules; where none was finished, the nearest estimate
    outcome   a key of OUTCOMES
    forwards  forward passes spent in all
    """

    best: Trial
    trials: tuple[Trial, ...]
    outcome: str
    forwards: int


def search(
    plan: Plan, rules: Rules, sampling: Sampling, interruption: type[BaseException] | tuple[()] = ()
) -> SearchResult:
    """The image that is nearest to the rules, or the first one that keeps them all.

    interruption  what sampling raises where the user stops it: the best so far is then returned, and only where
                  there is nothing yet does it pass through
    """
    return _Search(plan, rules, sampling).run(interruption)


class _Search:
    def __init__(self, plan: Plan, rules: Rules, sampling: Sampling) -> None:
        self.plan, self.rules, self.sampling = plan, rules, sampling
        self.trials: list[Trial] = []
        self.open: dict[int, Draw] = {}  # what may still be finished, by its place among the trials
        self.started_at = sampling.forwards()

    def run(self, interruption: type[BaseException] | tuple[()]) -> SearchResult:
        try:
            outcome = self._draw_seeds() or self._search_weights()
        except interruption:
            if not self.trials:
                raise
            outcome = INTERRUPTED
        forwards = self.sampling.forwards() - self.started_at
        return SearchResult(self.trials[self._best()], tuple(self.trials), outcome, forwards)

    def _draw_seeds(self) -> str | None:
        """INSIDE where a finished draw keeps the rules. One that promises to is finished before others are drawn."""
        for seed in self.plan.seeds:
            if not self._may_finish():
                break
            place = self._draw(seed, self.plan.weights)
            if self.rules.hold(self._predicted(place)) and self._finish(place):
                return self._ended_inside()
        while self.open and self._may_finish():
            if self._finish(min(self.open, key=lambda place: self.rules.order(self._predicted(place)))):
                return self._ended_inside()
        self._stop_open(f"less promising than the {self._finished()} finished")
        return None

    def _ended_inside(self) -> str:
        self._stop_open("another is inside the window")
        return INSIDE

    def _search_weights(self) -> str:
        """Draws the best seed again with other weights; finished where that promises more than the best so far."""
        if self.plan.bounds is None or not self.plan.weight_draws:
            return SPENT
        best = self.trials[self._best()]
        brackets, people = [Bracket(*self.plan.bounds, weight) for weight in best.weights], best.people
        for _ in range(self.plan.weight_draws):
            directions = [self.rules.direction(person) for person in people]
            brackets = [bracket.step(way) for bracket, way in zip(brackets, directions, strict=True)]
            if all(bracket.is_settled for bracket in brackets):
                return NO_WEIGHT
            place = self._draw(best.seed, tuple(bracket.weight for bracket in brackets))
            people = self._predicted(place)
            if self.rules.order(people) >= self.rules.order(self.trials[self._best()].people):
                self._stop(place, "these weights promise no more than the best so far")
            elif self._finish(place):
                return INSIDE
            else:
                people = self.trials[place].people
        return SPENT

    def _draw(self, seed: int, weights: Weights) -> int:
        before = self.sampling.forwards()
        draw = self.sampling.draw(seed, weights)
        image = self.sampling.decode(draw.estimate)
        people = self.sampling.judge(image)
        place = len(self.trials)
        self.trials.append(Trial(seed, weights, people, self.sampling.forwards() - before, draw.estimate, image))
        self.open[place] = draw
        return place

    def _finish(self, place: int) -> bool:
        """Samples a draw to the end; whether it keeps the rules."""
        trial, before = self.trials[place], self.sampling.forwards()
        latent = self.open.pop(place).finish()
        image = self.sampling.decode(latent)
        spent = trial.forwards + self.sampling.forwards() - before
        people = self.sampling.judge(image)
        self.trials[place] = replace(trial, final=people, forwards=spent, latent=latent, image=image, ending="finished")
        return self.rules.hold(people)

    def _stop(self, place: int, why: str) -> None:
        del self.open[place]
        self.trials[place] = replace(self.trials[place], ending=f"stopped: {why}")

    def _stop_open(self, why: str) -> None:
        for place in list(self.open):
            self._stop(place, why)

    def _finished(self) -> int:
        return sum(trial.final is not None for trial in self.trials)

    def _may_finish(self) -> bool:
        return self._finished() < self.plan.finish

    def _predicted(self, place: int) -> People:
        """What a draw's people should come to: estimates are less alike than what they become, by much the same."""
        pairs = [(trial.estimate, trial.final) for trial in self.trials if trial.final is not None]
        estimate = self.trials[place].estimate
        return moved(estimate, mean_offsets(pairs)) if pairs else estimate

    def _best(self) -> int:
        finished = [place for place, trial in enumerate(self.trials) if trial.final is not None]
        places = finished or range(len(self.trials))
        return min(places, key=lambda place: self.rules.order(self.trials[place].people))
