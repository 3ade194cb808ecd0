"""The socket in batches, under guidance of any kind, and at any size."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_management
import comfy.samplers
from withanyone_pack.tests.comfyui.sampling import applied, difference, latent_for, noise, prompt, sample


def test_a_batch_of_three_is_three_single_images(base, adapter):
    patched = applied(base, adapter)
    starts = torch.cat([noise(seed) for seed in range(3)])
    batch = sample(patched, start=starts)
    for index in range(3):
        assert difference(batch[index : index + 1], sample(patched, start=noise(index))) < 1e-5


def test_joint_and_split_guidance_agree(base, adapter, monkeypatch):
    patched = applied(base, adapter)
    joint = sample(patched, prompt(0), prompt(1), cfg=3.0)
    monkeypatch.setattr(base.model, "memory_required", lambda *_, **__: float("inf"))
    split = sample(patched, prompt(0), prompt(1), cfg=3.0)
    assert difference(split, joint) < 1e-5


def test_the_negative_prompt_is_steered_only_on_request(base, adapter):
    positive, negative = prompt(0), prompt(1)
    uncond = []

    def watch(apply_model, call):
        kinds = call["cond_or_uncond"]
        out = apply_model(call["input"], call["timestep"], **call["c"])
        uncond.append(out.chunk(len(kinds))[kinds.index(1)].clone())
        return out

    for choice in (False, True, None):
        model = base.clone() if choice is None else applied(base, adapter, unconditional=choice)
        model.set_model_unet_function_wrapper(watch)
        sample(model, positive, negative, cfg=3.0, sigmas=(1.0, 0.0))
    cond_only, both, plain = uncond
    assert difference(cond_only, plain) < 1e-5
    assert difference(both, plain) > 0.05


def test_a_guider_with_three_prompts_does_not_confuse_the_negative_one(base, adapter):
    from comfy_extras.nodes_custom_sampler import Guider_DualCFG

    def run(model):
        seen = []

        def watch(apply_model, call):
            out = apply_model(call["input"], call["timestep"], **call["c"])
            seen.extend(zip(call["cond_or_uncond"], out.chunk(len(call["cond_or_uncond"])), strict=True))
            return out

        model.set_model_unet_function_wrapper(watch)
        guider = Guider_DualCFG(model)
        guider.set_conds(prompt(0), prompt(2), prompt(1))
        guider.set_cfg(3.0, 2.0, nested=True)
        euler = comfy.samplers.sampler_object("euler")
        start = latent_for(model, noise())
        guider.sample(start, torch.zeros_like(start), euler, torch.tensor([1.0, 0.0]), disable_pbar=True, seed=0)
        return {kind: out.clone() for kind, out in seen}

    plain, steered = run(base.clone()), run(applied(base, adapter))
    assert difference(steered[0], plain[0]) < 1e-5  # the negative prompt comes first there
    assert difference(steered[2], plain[2]) > 0.05


def test_prompts_of_different_length_and_one_with_references_work(base, adapter):
    patched = applied(base, adapter)
    uneven = sample(patched, prompt(0, tokens=12), prompt(1, tokens=20), cfg=3.0)
    assert torch.isfinite(uneven).all()
    one_reference = sample(patched, prompt(0, reference_latents=[noise(7, height=12, width=12)]), prompt(1), cfg=3.0)
    both = sample(patched, prompt(0, reference_latents=[noise(7)]), prompt(1, reference_latents=[noise(7)]), cfg=3.0)
    assert torch.isfinite(one_reference).all()
    assert difference(both, sample(base, prompt(0, reference_latents=[noise(7)]), prompt(1), cfg=3.0)) > 0.01


@pytest.mark.parametrize(("height", "width"), [(15, 13), (17, 20), (32, 40)])
def test_any_size_is_sampled_with_the_same_faces(base, adapter, height, width):
    patched = applied(base, adapter)
    start = noise(height=height, width=width)
    assert difference(sample(patched, start=start), sample(base, start=start)) > 0.02


def test_a_second_pass_at_another_size_maps_the_boxes_again(base, adapter):
    patched = applied(base, adapter)
    first = sample(patched)
    larger = torch.nn.functional.interpolate(first, scale_factor=2)
    second = sample(patched, start=noise(height=32, width=40), latent=larger, sigmas=(0.6, 0.3, 0.0))
    plain = sample(base, start=noise(height=32, width=40), latent=larger, sigmas=(0.6, 0.3, 0.0))
    assert difference(second, plain) > 0.01


def test_inpainting_keeps_what_is_outside_the_noise_mask(base, adapter):
    original = latent_for(base, noise(3))
    mask = torch.zeros(1, 1, 16, 20)
    mask[..., :10] = 1.0
    patched = applied(base, adapter)
    out = sample(patched, latent=original, sigmas=(0.8, 0.4, 0.0), denoise_mask=mask)
    kept = original.shape[-1] // 2
    assert torch.allclose(out[..., kept:], original[..., kept:], atol=1e-5)
    assert difference(out, sample(base, latent=original, sigmas=(0.8, 0.4, 0.0), denoise_mask=mask)) > 0.01
