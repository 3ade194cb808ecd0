"""Early stopping and the best checkpoint, over scripted series of validations; the words of a comparison."""

import pytest
from withanyone_pack.tests.training.rooms import add_training
from withanyone_pack.tests.training.scripted_scores import IMAGES, scores

add_training()
from training.loop.early_stopping import LEAST_IMAGES, ValidationScores, compare, verdict
from withanyone_core.metrics.summary import difference_of


def first_stop(series, **choices):
    validations = [scores(*each) for each in series]
    for count in range(1, len(validations) + 1):
        found = verdict(validations[:count], **choices)
        if found.stop:
            return validations[count - 1].step, found
    return None, verdict(validations, **choices)


def word(start, later, spread=0.0):
    return compare(scores(*start), scores(*later, spread=spread), scores(*start)).word(0.1)


COPIES = ((0, 0.30, 0.10), (100, 0.40, 0.12), (200, 0.45, 0.14), (300, 0.45, 0.30), (400, 0.44, 0.33), (500, 0.44, 0.4))


def test_a_run_that_only_copies_more_stops_and_its_best_checkpoint_is_the_one_before():
    step, found = first_stop(COPIES)
    assert (step, found.best_step) == (400, 200)
    assert "copying rose from 0.140 at step 200 to 0.330 at step 400 (+0.190 [" in found.reason


def test_patience_is_the_number_of_validations_in_a_row():
    assert first_stop(COPIES, patience=1)[0] == 300
    assert first_stop(COPIES, patience=3)[0] == 500


def test_copying_that_brings_likeness_is_no_reason():
    series = ((0, 0.30, 0.10), (100, 0.40, 0.25), (200, 0.50, 0.40), (300, 0.60, 0.55), (400, 0.70, 0.70))
    step, found = first_stop(series)
    assert (step, found.best_step) == (None, 400)


def test_one_bad_validation_is_no_reason():
    series = ((0, 0.3, 0.1), (100, 0.4, 0.1), (200, 0.4, 0.4), (300, 0.4, 0.1), (400, 0.4, 0.4), (500, 0.4, 0.1))
    assert first_stop(series)[0] is None


def test_copying_from_the_start_is_measured_against_the_start():
    step, found = first_stop(((0, 0.4, 0.1), (100, 0.4, 0.3), (200, 0.4, 0.4)))
    assert (step, found.best_step) == (200, 100)


def test_validations_without_faces_or_of_another_setup_are_passed_over():
    validations = [scores(0, 0.4, 0.1), ValidationScores(100), scores(200, 0.5, 0.1)]
    assert verdict(validations).best_step == 200
    assert verdict([*validations, scores(300, 0.0, None)]).best_step == 200
    assert verdict([*validations, scores(300, 0.9, 0.1, setup="seed 2")]).best_step == 300
    assert verdict([ValidationScores(0), ValidationScores(100)]).best_step is None
    assert verdict([]).best_step is None


def test_a_rise_of_exactly_the_bound_is_none():
    """As floats are added 0.7 + 0.1 is below 0.8; on paper they are equal."""
    assert first_stop(((0, 0.4, 0.7), (100, 0.4, 0.8), (200, 0.4, 0.9)), patience=1)[0] == 200


def test_a_gain_within_the_interval_takes_nobodys_place():
    """+0.02 on the mean, of images that move by 0.1 either way."""
    noisy = [scores(0, 0.3, 0.1), scores(100, 0.4, 0.1), scores(200, 0.42, 0.1, spread=0.1)]
    assert verdict(noisy).best_step == 100
    assert verdict([*noisy[:2], scores(200, 0.42, 0.1, spread=0.01)]).best_step == 200


def test_fewer_images_than_can_show_a_difference_decide_nothing():
    few = [scores(step, *values, count=LEAST_IMAGES - 1) for step, *values in COPIES]
    assert (verdict(few).best_step, verdict(few).stop) == (None, False)
    enough = [scores(step, *values, count=LEAST_IMAGES) for step, *values in COPIES]
    assert verdict(enough[:5]).stop


@pytest.mark.parametrize(
    ("start", "later", "spread", "expected"),
    [
        ((0, 0.40, 0.10), (9, 0.46, 0.10), 0.02, "better"),
        ((0, 0.40, 0.10), (9, 0.46, 0.10), 0.20, "same"),
        ((0, 0.40565, 0.10), (9, 0.40569, 0.10), 0.0, "same"),
        ((0, 0.40, 0.10), (9, 0.34, 0.10), 0.02, "worse"),
        ((0, 0.40, 0.10), (9, 0.40, 0.30), 0.02, "copies"),
        ((0, 0.40, 0.10), (9, 0.34, 0.30), 0.02, "copies"),
        ((0, 0.40, 0.10), (9, 0.45, 0.40), 0.0, "copies"),
        ((0, 0.40, 0.10), (9, 0.60, 0.30), 0.02, "better"),
        ((0, 0.40, 0.10), (9, 0.40, 0.18), 0.0, "same"),
    ],
)
def test_the_word_is_said_by_the_intervals(start, later, spread, expected):
    assert word(start, later, spread) == expected


def test_a_comparison_is_paired():
    """People differ by far more than the gain: the means' intervals overlap, and that of the gain is small."""
    start, later = scores(0, 0.4, 0.1, people=0.3), scores(9, 0.45, 0.1, people=0.3)
    found = compare(start, later, start)
    assert found.images == IMAGES
    assert found.sim_gt.mean == pytest.approx(0.05)
    assert 0.04 < found.sim_gt.low <= found.sim_gt.high < 0.06
    pairs = ({name: (name, value) for name, value in each.sim_gt.items()} for each in (start, later))
    alone = difference_of(*pairs)
    assert (found.sim_gt.low, found.sim_gt.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert compare(start, scores(9, 0.45, 0.1, setup="seed 2"), start) is None


def test_images_without_copying_count_for_likeness_alone():
    start, later = scores(0, 0.4, 0.1), scores(9, 0.5, None)
    found = compare(start, later, start)
    assert found.copy_paste is None
    assert found.score.mean == pytest.approx(0.1)
