"""People were given and nobody was followed: one warning a run that names the cause; good runs stay quiet."""

import importlib.util
import logging
import types
from dataclasses import replace

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_management
import comfy.samplers
from comfy.patcher_extension import WrappersMP
from withanyone_pack.tests.comfyui.sampling import applied, noise, prompt, sample, two_faces
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.regions.layout import PlacedFace
from withanyone_pack.withanyone_core.timing import Window

REFINE = (0.6, 0.3, 0.0)  # image to image
FOREIGN = """
def forward_orig(self, img, img_ids, txt, txt_ids, timesteps, y, *others, **more):
    return self.final_layer(self.img_in(img), img.new_zeros(img.shape[0], self.hidden_size))
"""


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "withanyone")
    return lambda: [record.getMessage() for record in caplog.records]


def replace_forward(base, folder):
    """As packs do it that were written for one version of ComfyUI."""
    file = folder / "custom_nodes" / "Some-Flux-Pack" / "patch.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(FOREIGN)
    spec = importlib.util.spec_from_file_location("Some-Flux-Pack.patch", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    base.model.diffusion_model.forward_orig = types.MethodType(module.forward_orig, base.model.diffusion_model)


def faces_in(first: Window, second: Window) -> tuple[PlacedFace, ...]:
    one, two = two_faces()
    return (
        replace(one, identity=named(one.identity, "Ada"), window=first),
        replace(two, identity=named(two.identity, "Bob"), window=second),
    )


def named(identity: Identity, name: str) -> Identity:
    return replace(identity, name=name)


def test_a_foreign_forward_is_named_once_however_many_applies(base, adapter, tmp_path, warnings):
    replace_forward(base, tmp_path)
    one, two = two_faces()
    people = applied(applied(base, adapter, (one,)), adapter, (two,))
    assert torch.equal(sample(people), sample(base))
    (warning,) = warnings()
    assert "Nobody was placed: the node pack “Some-Flux-Pack” replaces the forward of the model" in warning
    sample(people)
    assert warnings() == [warning, warning]  # and again in the next run


@pytest.mark.parametrize(
    ("window", "sigmas", "words"),
    [
        (Window(0.8, 0.2), (1.0, 0.7, 0.4, 0.0), "starts at 0.8 of the denoising, after its end at 0.2"),
        (Window(1.0, 1.0), (1.0, 0.7, 0.4, 0.0), "works from 1 to 1 of the denoising (sigma 0.000 to 0.000)"),
        (Window(0.0, 0.3), REFINE, "this run goes from sigma 0.600 to 0.000 and has no step in it"),
    ],
)
def test_a_window_without_a_step_is_named(base, adapter, warnings, window, sigmas, words):
    assert torch.equal(sample(applied(base, adapter, window=window), sigmas=sigmas), sample(base, sigmas=sigmas))
    (warning,) = warnings()
    assert warning.startswith("Nobody was placed: Apply WithAnyone ")
    assert words in warning


def test_a_persons_own_window_without_a_step_is_named(base, adapter, warnings):
    sample(applied(base, adapter, faces_in(Window(0.0, 1.0), Window(0.0, 0.3))), sigmas=REFINE)
    sample(applied(base, adapter, faces_in(Window(0.9, 0.1), Window(0.0, 1.0))))
    sample(applied(base, adapter, faces_in(Window(0.0, 1.0), Window(0.6, 1.0)), window=Window(0.0, 0.5)))
    outside, reversed_, apart = warnings()
    assert outside.startswith("Not placed: “Bob”, whose Place Face works from 0 to 0.3 of the denoising")
    assert reversed_.startswith("Not placed: “Ada”, whose Place Face starts at 0.9 of the denoising, after its end")
    assert apart.startswith("Not placed: “Bob”, whose Place Face works from 0.6 to 1 of the denoising")
    assert "Apply WithAnyone works from 0 to 0.5" in apart


@pytest.mark.parametrize("window", [Window(0.0, 0.3), Window(0.7, 1.0)])
def test_a_cut_run_is_one_run(base, adapter, warnings, window):
    """Between them the parts show everybody, though one of them shows nobody."""
    people = applied(base, adapter, window=window)
    half = sample(people, sigmas=(1.0, 0.9, 0.7))
    for _ in range(2):  # the second time as where only the last part was changed
        sample(people, start=torch.zeros_like(half), latent=half, sigmas=(0.7, 0.4, 0.0))
    assert warnings() == []


def skipping(skipped: set[int]):
    """A step cache: a wrapper around the transformer that repeats the last answer at some calls."""
    seen = {"call": -1, "answer": None}

    def wrapper(executor, *args, **kwargs):
        seen["call"] += 1
        if seen["call"] not in skipped:
            seen["answer"] = executor(*args, **kwargs)
        return seen["answer"]

    return wrapper


def test_a_step_cache_is_named_only_where_it_skips_every_step_with_people(base, adapter, warnings):
    people = applied(base, adapter)
    people.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cache", skipping({1, 2}))
    sample(people)
    assert warnings() == []
    late = applied(base, adapter, window=Window(0.5, 1.0))
    late.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cache", skipping({1, 2}))
    sample(late)
    (warning,) = warnings()
    assert "Nobody was placed: a step cache skipped FLUX's blocks" in warning


def test_good_and_interrupted_runs_are_quiet(base, adapter, warnings):
    sample(applied(base, adapter, faces_in(Window(0.0, 0.5), Window(0.5, 1.0))), prompt(0), prompt(1), cfg=3.0)
    sample(applied(base, adapter), start=noise(batch=2), sigmas=REFINE)

    def stop(args, extra):
        raise comfy.model_management.InterruptProcessingException

    broken = applied(base, adapter, window=Window(0.5, 1.0))
    broken.set_model_patch_replace(stop, "dit", "single_block", 1)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(broken)
    assert warnings() == []
