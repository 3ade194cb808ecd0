import pytest
from withanyone_pack.withanyone_core.timing import SHAPES, Curve, Window


@pytest.mark.parametrize("shape", SHAPES)
def test_every_curve_runs_from_first_to_last_without_turning(shape):
    values = [Curve(0.2, 1.4, shape).at(position / 20) for position in range(21)]
    assert values[0] == pytest.approx(0.2)
    assert values[-1] == pytest.approx(1.4)
    assert values == sorted(values)


def test_easing_bends_the_curve():
    middle = {shape: Curve(0.0, 1.0, shape).at(0.25) for shape in SHAPES}
    assert middle == {"linear": 0.25, "ease in": 0.0625, "ease out": 0.4375, "ease in and out": 0.15625}


def test_an_unknown_curve_is_named():
    with pytest.raises(ValueError, match="The curve 'wobble' is unknown; expected one of linear"):
        Curve(0.0, 1.0, "wobble")


@pytest.mark.parametrize("factors", [(float("nan"), 1.0), (1.0, float("inf"))])
def test_factors_that_are_no_numbers_are_refused(factors):
    with pytest.raises(ValueError, match=r"The factors .* must be finite numbers"):
        Curve(*factors)


@pytest.mark.parametrize("window", [(-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_a_window_outside_the_denoising_is_refused(window):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        Window(*window)
