"""The facts of base models: sizes, recognition, tokens and the sigma shift."""

import math

import pytest
import torch
from withanyone_pack.withanyone_core.base_models.flux1 import FLUX_1
from withanyone_pack.withanyone_core.base_models.flux2 import FLUX_2
from withanyone_pack.withanyone_core.base_models.registry import (
    BASE_MODELS,
    base_named,
    base_of_keys,
    base_of_module,
    bases_of_size,
)
from withanyone_pack.withanyone_core.canvas import CELL_PX
from withanyone_pack.withanyone_core.schedule import base_sigmas, released_sigmas, shift_sigmas


def test_names_are_found_and_unknown_ones_refused_with_those_that_are_known():
    assert [base_named(base.name) for base in BASE_MODELS] == list(BASE_MODELS)
    with pytest.raises(ValueError, match=r"“flux.9” is unknown; this version knows flux\.1 and flux\.2"):
        base_named("flux.9")


@pytest.mark.parametrize("base", BASE_MODELS, ids=lambda base: base.name)
def test_layouts_are_drawn_in_the_cells_of_every_base_model(base):
    assert base.token_px == CELL_PX
    assert base.tokens(1024, 512) == 64 * 32


@pytest.mark.parametrize(
    ("keys", "base"),
    [
        (["double_blocks.0.img_attn.qkv.weight", "vector_in.in_layer.weight"], FLUX_1),
        (["transformer_blocks.0.norm1.linear.weight", "time_text_embed.text_embedder.linear_1.weight"], FLUX_1),
        (["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"], FLUX_2),
        (["double_stream_modulation_img.linear.weight"], FLUX_2),
        (["double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.norms.0.scale"], None),
        ([], None),
    ],
)
def test_a_transformer_is_known_by_what_only_its_family_has(keys, base):
    assert base_of_keys(keys) is base


def test_a_module_is_known_by_what_only_its_family_has():
    model = torch.nn.Module()
    assert base_of_module(model) is None
    model.vector_in = torch.nn.Linear(1, 1)
    assert base_of_module(model) is FLUX_1
    model.vector_in = None  # as ComfyUI's class has it in other families
    model.double_stream_modulation_img = torch.nn.Linear(1, 1)
    assert base_of_module(model) is FLUX_2


@pytest.mark.parametrize(
    ("blocks", "width", "base", "name"),
    [
        (57, 3072, FLUX_1, "FLUX.1-dev"),
        (25, 3072, FLUX_2, "FLUX.2-klein-4B"),
        (32, 4096, FLUX_2, "FLUX.2-klein-9B"),
        (56, 6144, FLUX_2, "FLUX.2-dev"),
    ],
)
def test_a_published_size_says_which_base_model_it_is(blocks, width, base, name):
    assert bases_of_size(blocks, width) == (base,)
    assert name in base.named(blocks, width)
    assert bases_of_size(blocks + 1, width) == ()


def test_the_shift_of_flux_1_is_its_published_line():
    assert FLUX_1.mu(256, 4) == 0.5
    assert FLUX_1.mu(4096, 50) == pytest.approx(1.15, abs=1e-12)


@pytest.mark.parametrize(("steps", "at_256", "at_4096"), [(10, 1.9207025, 2.2562457), (200, 0.49999978, 1.1499966)])
def test_the_shift_of_flux_2_follows_tokens_and_steps(steps, at_256, at_4096):
    assert FLUX_2.mu(256, steps) == pytest.approx(at_256, abs=1e-6)
    assert FLUX_2.mu(4096, steps) == pytest.approx(at_4096, abs=1e-6)
    assert FLUX_2.mu(4096, 10) > FLUX_2.mu(4096, 50) > FLUX_2.mu(4096, 200)
    assert FLUX_2.mu(4400, steps) == pytest.approx(0.00016927 * 4400 + 0.45666666)


def test_a_base_models_schedule_goes_from_1_to_0_through_its_shift():
    sigmas = base_sigmas(FLUX_2, 4, 1024, 1024)
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (1, 0, 5)
    shift = math.exp(FLUX_2.mu(4096, 4))
    assert sigmas[2].item() == pytest.approx(shift / (shift + 1), abs=1e-6)
    assert torch.equal(base_sigmas(FLUX_1, 7, 512, 768), released_sigmas(7, 512, 768, token_count="true"))
    with pytest.raises(ValueError, match="0 steps were asked for"):
        base_sigmas(FLUX_2, 0, 1024, 1024)


def test_a_shift_keeps_the_ends_and_moves_the_rest_towards_noise():
    sigmas = torch.tensor([0.0, 0.25, 1.0])
    moved = shift_sigmas(sigmas, 1.0)
    assert (moved[0], moved[2]) == (0, 1)
    assert moved[1] > 0.25
    assert torch.allclose(shift_sigmas(moved, -1.0), sigmas)
