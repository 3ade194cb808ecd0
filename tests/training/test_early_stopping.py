"""Early stopping, over scripted series of validations."""

from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.loop.early_stopping import ValidationScores, verdict


def first_stop(series, **choices):
    validations = [ValidationScores(step, gt, copying, copying) for step, gt, copying in series]
    for count in range(1, len(validations) + 1):
        found = verdict(validations[:count], **choices)
        if found.stop:
            return validations[count - 1].step, found
    return None, verdict(validations, **choices)


COPIES = ((0, 0.30, 0.10), (100, 0.40, 0.12), (200, 0.45, 0.14), (300, 0.45, 0.30), (400, 0.44, 0.33), (500, 0.44, 0.4))


def test_a_run_that_only_copies_more_stops_and_its_best_checkpoint_is_the_one_before():
    step, found = first_stop(COPIES)
    assert (step, found.best_step) == (400, 200)
    assert "copying rose from 0.140 at step 200 to 0.330 at step 400" in found.reason


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


def test_validations_without_faces_are_passed_over():
    validations = [
        ValidationScores(0, 0.4, 0.4, 0.1),
        ValidationScores(100),
        ValidationScores(200, 0.5, 0.5, 0.1),
        ValidationScores(300, 0.0, 0.0, None),
    ]
    assert verdict(validations).best_step == 200
    assert verdict([ValidationScores(0), ValidationScores(100)]).best_step is None
    assert verdict([]).best_step is None


def test_a_rise_of_exactly_the_bound_is_none_and_a_gain_of_it_is_one():
    """As floats are added 0.7 + 0.1 is below 0.8, and 0.35 + 0.01 above 0.36; on paper they are equal."""
    assert first_stop(((0, 0.4, 0.7), (100, 0.4, 0.8), (200, 0.4, 0.9)))[0] is None
    assert first_stop(((0, 0.35, 0.1), (100, 0.36, 0.4), (200, 0.36, 0.4)))[0] is None
