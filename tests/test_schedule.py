"""The released noise schedule against its golden values and ComfyUI's rule for denoise."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.schedule import released_sigmas

GOLDEN = ROOT / "tests/golden/inference"
CASES = json.loads((GOLDEN / "f_sigma_schedules.json").read_text(encoding="utf-8"))
SIGMAS = load_file(GOLDEN / "f_sigma_schedules.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_released_schedule(name):
    case, golden = CASES[name], SIGMAS[name].double()
    sigmas = released_sigmas(case["steps"], case["width"], case["height"])
    assert sigmas.dtype == torch.float32
    assert sigmas.shape == golden.shape == (case["steps"] + 1,)
    assert (sigmas.double() - golden).abs().max() <= 2e-7


def test_the_sizes_of_the_golden_schedules_tell_rounding_down_from_not():
    # 832 x 1216 is 61.75 of the released tokens.
    assert CASES["832x1216_s25"]["seq_len"] == 61


def test_the_true_token_count_is_the_shift_of_flux_itself():
    sigmas = released_sigmas(25, 1024, 1024, token_count="true")
    grid = torch.linspace(1, 0, 26, dtype=torch.float64)[:-1]
    expected = math.exp(1.15) / (math.exp(1.15) + 1 / grid - 1)
    assert (sigmas[:-1].double() - expected).abs().max() < 2e-7
    assert released_sigmas(4, 256, 256, token_count="true")[1] == pytest.approx(
        math.exp(0.5) / (math.exp(0.5) + 1 / 0.75 - 1), abs=2e-7
    )


def test_the_released_count_is_a_64th_of_the_true_one():
    assert torch.equal(released_sigmas(25, 2048, 2048), released_sigmas(25, 256, 256, token_count="true"))


def test_denoise_keeps_the_end_of_a_longer_schedule():
    assert torch.equal(released_sigmas(10, 512, 512, 0.35), released_sigmas(28, 512, 512)[-11:])
    assert torch.equal(released_sigmas(10, 512, 512, 0.5), released_sigmas(20, 512, 512)[-11:])
    assert torch.equal(released_sigmas(10, 512, 512, 1.0), released_sigmas(10, 512, 512))


@pytest.mark.parametrize("denoise", [0.0, -1.0])
def test_no_denoise_is_no_schedule(denoise):
    assert released_sigmas(25, 512, 512, denoise).shape == (0,)


def test_the_schedule_falls_from_one_to_zero():
    for steps in (1, 7, 1000):
        sigmas = released_sigmas(steps, 1344, 768)
        assert sigmas[0] == 1
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 512, 512), "0 steps were asked for; expected at least 1"),
        ((25, 8, 512), "The canvas is 8x512 pixels; expected at least 16x16"),
        ((25, 512, 15), "The canvas is 512x15 pixels; expected at least 16x16"),
        ((25, 512, 512, math.nan), "The denoise is NaN; expected 0 to 1"),
        ((25, 512, 512, 1.0, "half"), "The token count 'half' is unknown; expected one of as released, true"),
    ],
)
def test_bad_schedules_are_refused_with_a_message(arguments, words):
    with pytest.raises(ValueError, match=words):
        released_sigmas(*arguments)
