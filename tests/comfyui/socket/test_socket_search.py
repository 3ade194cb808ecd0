"""ComfyUI's guider and sampler stopped at a step and taken up again, and weights for one run of them."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.sample
import comfy.samplers
from withanyone_pack.tests.comfyui.sampling import applied, difference, latent_for, noise, prompt, prompt_for, two_faces
from withanyone_pack.withanyone_core.injection.comfyui.guided_sampling import GuidedSampling, cut_of
from withanyone_pack.withanyone_core.regions.layout import PlacedFace

SIGMAS = torch.tensor([1.0, 0.85, 0.7, 0.4, 0.2, 0.0])
PARTLY = torch.tensor([0.8, 0.6, 0.35, 0.15, 0.0])
CUT, SEED = 2, 5
EMPTY = torch.zeros(1, 16, 16, 20)


def guider_of(model, positive=None, negative=None, cfg=1.0):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt_for(model, positive or prompt(0)), prompt_for(model, negative or []))
    guider.set_cfg(cfg)
    return guider


def latent_of(guider, latent=None):
    """As the guider's model takes it; empty where there is none."""
    latent = latent or {"samples": EMPTY}
    return {**latent, "samples": latent_for(guider.model_patcher, latent["samples"])}


def guided(guider, latent=None, sigmas=SIGMAS, sampler="euler", cut=CUT, place=0, shown=lambda step, clean: None):
    latent = latent_of(guider, latent)
    return GuidedSampling(guider, comfy.samplers.sampler_object(sampler), sigmas, latent, place, cut, shown)


def whole(guider, latent=None, sigmas=SIGMAS, sampler="euler", callback=None):
    """What ComfyUI's SamplerCustomAdvanced makes of it in one run."""
    latent = latent_of(guider, latent)
    start = comfy.sample.prepare_noise(latent["samples"], SEED)
    return guider.sample(
        start,
        latent["samples"],
        comfy.samplers.sampler_object(sampler),
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=callback,
        disable_pbar=True,
        seed=SEED,
    )


def half_masked():
    mask = torch.zeros(1, 16, 20)
    mask[..., :10] = 1.0
    return {"samples": 0.5 * noise(9), "noise_mask": mask}


@pytest.mark.parametrize(
    ("positive", "cfg", "latent", "sigmas"),
    [
        ({}, 1.0, None, SIGMAS),
        ({}, 3.0, None, SIGMAS),
        ({"reference_latents": [noise(7)]}, 1.0, None, SIGMAS),
        ({}, 1.0, {"samples": noise(8)}, PARTLY),
        ({}, 1.0, half_masked(), SIGMAS),
        ({}, 1.0, half_masked(), PARTLY),
    ],
    ids=["plain", "with a negative prompt", "Kontext", "image to image", "mask", "mask and image to image"],
)
def test_stopped_and_taken_up_again_is_one_run(base, adapter, positive, cfg, latent, sigmas):
    guider = guider_of(applied(base, adapter), prompt(0, **positive), prompt(1), cfg)
    wanted = whole(guider, latent, sigmas)
    ended = guided(guider, latent, sigmas).draw(SEED, ()).finish()
    assert difference(ended, wanted) < 1e-5


def test_a_lora_stays_where_it_is(base, adapter):
    key = "diffusion_model.double_blocks.0.img_attn.proj.weight"
    model = applied(base, adapter).clone()
    model.add_patches({key: ("diff", (torch.randn_like(base.model.state_dict()[key]),))}, 0.3)
    guider = guider_of(model)
    ended = guided(guider).draw(SEED, ()).finish()
    assert difference(ended, whole(guider)) < 1e-5
    assert difference(ended, whole(guider_of(applied(base, adapter)))) > 1e-2


def test_what_a_mask_keeps_is_kept(base, adapter):
    guider = guider_of(applied(base, adapter))
    latent = latent_of(guider, half_masked())
    ended = guided(guider, latent).draw(SEED, ()).finish()
    kept = latent["samples"].shape[-1] // 2
    assert difference(ended[..., kept:], latent["samples"][..., kept:]) < 1e-4
    assert difference(ended[..., :kept], latent["samples"][..., :kept]) > 0.1


def test_the_estimate_is_the_clean_image_that_the_sampler_sees_at_that_step(base, adapter):
    guider, seen = guider_of(applied(base, adapter)), []
    whole(guider, callback=lambda step, clean, noisy, steps: seen.append(clean))
    shown = []
    drawn = guided(guider, shown=lambda step, clean: shown.append(step)).draw(SEED, ())
    assert difference(drawn.estimate, base.model.process_latent_out(seen[CUT - 1])) < 1e-5
    drawn.finish()
    assert shown == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("sampler", "forwards"), [("euler", (2, 5)), ("heun", (4, 9))])
def test_every_forward_is_counted(base, adapter, sampler, forwards):
    """Heun takes two a step, but one in the last."""
    counted = guided(guider_of(applied(base, adapter)), sampler=sampler)
    drawn = counted.draw(SEED, ())
    first = counted.forwards
    drawn.finish()
    assert (first, counted.forwards) == forwards


def test_a_draw_that_is_cut_nowhere_is_one_run(base, adapter):
    guider = guider_of(applied(base, adapter))
    counted = guided(guider, cut=len(SIGMAS) - 1)
    drawn = counted.draw(SEED, ())
    assert torch.equal(drawn.estimate, whole(guider))
    assert torch.equal(drawn.finish(), drawn.estimate)
    assert counted.forwards == len(SIGMAS) - 1


def test_an_image_of_a_batch_has_the_noise_of_its_place(base, adapter):
    guider, latent = guider_of(applied(base, adapter)), {"samples": EMPTY.repeat(3, 1, 1, 1)}
    ended = guided(guider, latent, place=2).draw(SEED, ()).finish()
    assert difference(ended, whole(guider, latent)[2:]) < 1e-5


def test_a_sampler_that_adds_noise_gives_the_same_for_the_same_seed_and_no_noise_twice(base, adapter):
    guider = guider_of(applied(base, adapter))
    first, again = (guided(guider, sampler="euler_ancestral").draw(SEED, ()).finish() for _ in range(2))
    assert torch.equal(first, again)
    seeds = []

    def watch(executor, model, sigmas, extra_args, *rest):
        seeds.append(extra_args["seed"])
        return executor(model, sigmas, extra_args, *rest)

    model = applied(base, adapter)
    model.add_wrapper_with_key("sampler_sample", "watch", watch)
    guided(guider_of(model), sampler="euler_ancestral").draw(SEED, ()).finish()
    assert seeds[0] == SEED
    assert len(set(seeds)) == 2


def test_weights_of_a_draw_are_those_of_place_face(base, adapter):
    faces = two_faces()
    guider = guider_of(applied(base, adapter, faces))
    searching = guided(guider)
    searching.search_weights_of(faces)
    changed = tuple(
        PlacedFace(face.identity, face.region, weight) for face, weight in zip(faces, (0.4, 1.7), strict=True)
    )
    ended = searching.draw(SEED, (0.4, 1.7)).finish()
    assert difference(ended, whole(guider_of(applied(base, adapter, changed)))) < 1e-5
    assert difference(ended, whole(guider)) > 1e-2
    assert difference(searching.draw(SEED, (1.0, 1.0)).finish(), whole(guider)) < 1e-5


def test_weights_of_people_whom_the_guider_does_not_know_are_refused(base, adapter):
    searching = guided(guider_of(applied(base, adapter)))
    searching.search_weights_of(two_faces())
    with pytest.raises(ValueError, match="guider's model was not made with these people"):
        searching.draw(SEED, (1.0, 1.0))


def test_the_guider_that_came_in_stays_as_it_was(base, adapter):
    faces = two_faces()
    guider = guider_of(applied(base, adapter, faces))
    before = whole(guider)
    options = guider.model_options["transformer_options"].keys() | set()
    searching = guided(guider)
    searching.search_weights_of(faces)
    searching.draw(SEED, (0.1, 0.1)).finish()
    assert guider.model_options["transformer_options"].keys() == options
    assert torch.equal(whole(guider), before)


@pytest.mark.parametrize(
    ("sigmas", "fraction", "cut"),
    [
        (SIGMAS, 0.25, 1),
        (SIGMAS, 0.4, 2),
        (SIGMAS, 0.01, 1),
        (SIGMAS, 1.0, 5),
        (torch.tensor([1.0, 1.0, 0.5, 0.0]), 0.3, 2),
        (torch.tensor([1.0, 0.0]), 0.3, 1),
    ],
)
def test_a_fraction_is_a_step(sigmas, fraction, cut):
    assert cut_of(sigmas, fraction) == cut


def test_a_schedule_without_a_step_is_refused():
    with pytest.raises(ValueError, match="which is no step"):
        cut_of(torch.tensor([1.0]), 0.5)
