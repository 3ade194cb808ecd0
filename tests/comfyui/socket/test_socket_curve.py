"""The weight curve follows sigma over the whole denoising, however the run is cut."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from comfy_extras.nodes_custom_sampler import SplitSigmas
from withanyone_pack.tests.comfyui.sampling import EVEN, applied, difference, latent_for, noise, prompt, sample
from withanyone_pack.withanyone_core.timing import Curve, Window

import nodes

FALLING = Curve(2.0, 0.0)


@pytest.mark.parametrize("window", [Window(), Window(0.1, 0.8)])
def test_split_sigmas_give_what_the_whole_run_gives(base, adapter, window):
    people = applied(base, adapter, window=window, curve=FALLING)
    sigmas = [base.get_model_object("model_sampling").percent_to_sigma(step / 6) for step in range(7)]
    high, low = (part.tolist() for part in SplitSigmas.execute(torch.tensor(sigmas), 3).result)
    half = sample(people, sigmas=high)
    rest = sample(people, start=torch.zeros_like(half), latent=half, sigmas=low)
    assert difference(rest, sample(people, sigmas=sigmas)) < 1e-5


def test_ksampler_advanced_in_two_parts_gives_what_one_gives(base, adapter):
    people = applied(base, adapter, curve=FALLING)

    def run(latent, add_noise, start, end, leftover):
        sampler = nodes.KSamplerAdvanced()
        choices = (4, 1.0, "euler", "simple", prompt(0), prompt(1))
        return sampler.sample(people, add_noise, 0, *choices, latent, start, end, leftover)[0]

    # Not empty, which ComfyUI would give the published model's channels.
    latent = {"samples": latent_for(base, noise())}
    whole = run(latent, "enable", 0, 4, "disable")
    half = run(latent, "enable", 0, 2, "enable")
    assert difference(run(half, "disable", 2, 4, "disable")["samples"], whole["samples"]) < 1e-5


@pytest.mark.parametrize(("percent", "factor"), [(0.25, 1.5), (0.75, 0.5)])
def test_a_second_pass_begins_on_the_curve_where_its_sigma_is(base, adapter, percent, factor):
    sigma = base.get_model_object("model_sampling").percent_to_sigma(percent)
    steps = (sigma, 0.0)
    steady = {branch: weight * factor for branch, weight in EVEN.items()}
    on_curve = sample(applied(base, adapter, curve=FALLING), sigmas=steps)
    assert difference(on_curve, sample(applied(base, adapter, weights=steady), sigmas=steps)) < 1e-5
    assert difference(on_curve, sample(applied(base, adapter), sigmas=steps)) > 1e-3
