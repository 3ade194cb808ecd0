"""The search for an image that is alike, on made-up seeds: what it draws, stops, finishes, and says of it."""

from dataclasses import dataclass, field

import pytest
from withanyone_pack.withanyone_core.metrics.case import CaseScores, IdentityScore
from withanyone_pack.withanyone_core.sampling_search.rules import PersonScore, Rules, people_of
from withanyone_pack.withanyone_core.sampling_search.search import (
    INSIDE,
    INTERRUPTED,
    NO_WEIGHT,
    SPENT,
    Draw,
    Plan,
    Sampling,
    search,
)
from withanyone_pack.withanyone_core.sampling_search.table import table_text

RULES = Rules(0.5, 0.7, 0.2)
STEPS, CUT = 20, 5
FAINT = 0.2  # what clean estimates lack in similarity


class Stop(Exception):
    pass


@dataclass
class World:
    """Seeds of which it is known how alike each person becomes; a weight of w adds `slope` times w - 1.

    stop_at  the forward pass at which the user interrupts
    """

    people: dict[int, tuple[float, ...]]
    copied: float | None = None
    slope: float = 0.0
    lost: frozenset = frozenset()
    stop_at: int = 10**9
    spent: int = 0
    log: list = field(default_factory=list)

    def run(self, passes):
        for _ in range(passes):
            self.spent += 1
            if self.spent == self.stop_at:
                raise Stop

    def draw(self, seed, weights):
        self.run(CUT)
        self.log.append(("draw", seed, weights))
        return Draw((seed, weights, FAINT), lambda: self.finish(seed, weights))

    def finish(self, seed, weights):
        self.run(STEPS - CUT)
        self.log.append(("finish", seed, weights))
        return seed, weights, 0.0

    def judge(self, image):
        seed, weights, faint = image
        return tuple(
            PersonScore(0.0, None, True)
            if seed in self.lost
            else PersonScore(value - faint + self.slope * (weight - 1), self.copied)
            for value, weight in zip(self.people[seed], weights, strict=True)
        )

    def search(self, rules=RULES, finish=2, **choices):
        plan = Plan(tuple(self.people), finish, (1.0,) * len(next(iter(self.people.values()))), **choices)
        sampling = Sampling(self.draw, lambda latent: latent, self.judge, lambda: self.spent)
        return search(plan, rules, sampling, Stop)

    @property
    def finished(self):
        return [seed for what, seed, _ in self.log if what == "finish"]


def test_only_the_most_promising_are_finished_and_the_best_of_them_is_kept():
    world = World({1: (0.1,), 2: (0.4,), 3: (0.2,), 4: (0.45,)})
    found = world.search()
    assert world.finished == [4, 2]
    assert found.best.seed == 4
    assert found.outcome == SPENT
    assert found.forwards == 4 * CUT + 2 * (STEPS - CUT) == world.spent
    assert [trial.forwards for trial in found.trials] == [CUT, STEPS, CUT, STEPS]
    assert found.trials[0].ending == "stopped: less promising than the 2 finished"


def test_the_worst_person_counts():
    world = World({1: (0.6, 0.1), 2: (0.4, 0.4), 3: (0.65, 0.2)})
    assert world.search(finish=1).best.seed == 2


def test_similarity_is_a_window_and_what_is_above_it_is_no_better():
    world = World({1: (0.95,), 2: (0.4,)})
    assert world.search().best.seed == 2
    assert world.finished == [1, 2]


def test_it_stops_at_the_first_that_is_inside():
    world = World({1: (0.3,), 2: (0.6,), 3: (0.65,)})
    found = world.search()
    assert (found.outcome, found.best.seed) == (INSIDE, 3)
    assert world.finished == [3]
    assert found.trials[1].ending == "stopped: another is inside the window"


def test_one_that_is_inside_at_the_fraction_is_finished_before_others_are_drawn():
    world = World({1: (0.75,), 2: (0.6,), 3: (0.6,)})
    found = world.search(Rules(0.5, 0.8, 0.2))
    assert (found.outcome, found.best.seed, found.forwards) == (INSIDE, 1, STEPS)
    assert len(found.trials) == 1


def test_what_was_learnt_of_a_finished_draw_corrects_the_estimates():
    """0.75 and 0.85 look as if they would be inside; 0.62 alone becomes so."""
    world = World({1: (0.85,), 2: (0.8,), 3: (0.62,)})
    assert world.search().best.seed == 3
    assert world.finished == [1, 3]


def test_copying_is_as_wrong_as_a_stranger_and_unknown_copying_is_no_fault():
    world = World({1: (0.6,)}, copied=0.5)
    assert world.search().outcome == SPENT
    assert RULES.distance(PersonScore(0.6, 0.5)) == pytest.approx(0.3)
    assert World({1: (0.6,)}, copied=None).search().outcome == INSIDE


def test_a_lost_person_is_worse_than_any_stranger():
    assert World({1: (0.6,), 2: (-0.9,)}, lost=frozenset({1})).search().best.seed == 2


def test_a_weight_is_searched_between_its_bounds_for_each_person():
    world = World({1: (0.4, 0.6)}, slope=0.5)
    found = world.search(bounds=(0.5, 1.5), weight_draws=4)
    assert found.outcome == INSIDE
    assert found.best.weights == (1.25, 1.0)
    assert found.best.people[0].similarity == pytest.approx(0.525)
    assert all(0.5 <= weight <= 1.5 for _, _, weights in world.log for weight in weights)


def test_too_much_copying_lowers_the_weight():
    world = World({1: (0.8,)}, slope=0.5)
    assert world.search(bounds=(0.5, 1.5), weight_draws=4).best.weights == (0.75,)


def test_the_search_for_a_weight_ends_where_none_helps():
    low = World({1: (0.1,)})
    assert low.search(bounds=(0.9, 1.1), weight_draws=20).outcome == NO_WEIGHT
    assert low.finished == [1]
    torn = World({1: (0.4,)}, copied=0.9)  # too unlike and too much of a copy: no weight serves both
    assert torn.search(bounds=(0.5, 1.5), weight_draws=4).outcome == NO_WEIGHT
    assert len(torn.log) == 2


def test_weights_that_promise_nothing_are_stopped_at_the_fraction():
    world = World({1: (0.1,)}, slope=-1.0)
    found = world.search(bounds=(0.5, 1.5), weight_draws=1)
    assert found.trials[-1].ending == "stopped: these weights promise no more than the best so far"
    assert found.forwards == STEPS + CUT


@pytest.mark.parametrize(("stop_at", "best", "finished"), [(12, 2, False), (38, 4, True)])
def test_an_interruption_returns_the_best_so_far(stop_at, best, finished):
    """In the third draw, and in the second finish."""
    world = World({1: (0.1,), 2: (0.4,), 3: (0.2,), 4: (0.45,)}, stop_at=stop_at)
    found = world.search()
    assert (found.outcome, found.best.seed, found.best.final is not None) == (INTERRUPTED, best, finished)
    assert found.forwards == stop_at
    assert "interrupted" in {trial.ending for trial in found.trials}


def test_an_interruption_before_anything_is_there_passes_through():
    with pytest.raises(Stop):
        World({1: (0.1,)}, stop_at=2).search()


def test_the_table_says_what_was_spent_and_what_was_stopped_when_and_why():
    found = World({7: (0.1, 0.3), 8: (0.4, 0.5)}, copied=None).search(finish=1)
    text = table_text(found, RULES, ("1 Ann", "2 Bob"), (CUT, STEPS), ("A note.",))
    assert text.splitlines()[:5] == [
        "Ended: all draws are spent.",
        "Kept: draw 2, seed 8.",
        "Window of similarity 0.5 to 0.7, copy-paste at most 0.2.",
        "2 draws, judged after step 5 of 20, 1 finished; 25 forwards.",
        "A note.",
    ]
    stopped, kept = text.splitlines()[-2:]
    assert "| step 5 of 20, stopped: less promising than the 1 finished |" in stopped
    assert "1, 0.200 (copy-paste unknown), 0.400 (copy-paste unknown)" in kept
    assert kept.endswith("| 0.100 outside | 20 | finished |")


def test_an_interrupted_table_says_that_the_image_is_an_estimate():
    found = World({1: (0.1,), 2: (0.4,)}, stop_at=7).search()
    assert "the clean estimate of a draw that was not finished" in table_text(found, RULES, ("Ann",), (CUT, STEPS))


def scores(truth, **of_identity):
    return CaseScores("image", "boxes", (IdentityScore(0, 0, **of_identity),), 1, 1, truth)


def test_second_photos_come_before_references():
    (person,) = people_of(scores(1, sim_gt=0.5, sim_ref=0.9, copy_paste=0.3))
    assert person == PersonScore(0.5, 0.3)
    (person,) = people_of(scores(None, sim_ref=0.9))
    assert person == PersonScore(0.9, None)


def test_somebody_who_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="finds no face in the photo of Ann"):
        people_of(scores(None, person="Ann"))


@pytest.mark.parametrize("wrong", [(0.8, 0.5, 0.2), (-2, 0.5, 0.2), (0.5, 0.8, 3), (float("nan"), 0.5, 0.2)])
def test_rules_that_nobody_can_keep_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Rules(*wrong)


@pytest.mark.parametrize("wrong", [{"seeds": ()}, {"finish": 0}, {"bounds": (1.5, 0.5)}, {"bounds": (0.0, 1.0)}])
def test_plans_of_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Plan(**{"seeds": (1,), "finish": 1, "weights": (1.0,)} | wrong)
