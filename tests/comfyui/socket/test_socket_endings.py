"""What a run leaves behind, whole or interrupted."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_management
import comfy.samplers
from withanyone_pack.tests.comfyui.sampling import (
    applied,
    sample,
)
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY


def test_nothing_of_a_run_stays_on_the_device(base, adapter):
    patched = applied(base, adapter)
    wrapper = patched.get_wrappers("apply_model", KEY)[0]
    run = wrapper.__closure__[0].cell_contents.__self__.run
    filled = []
    patched.set_model_patch_replace(
        lambda args, extra: (filled.append(len(run.keys_values)), extra["original_block"](args))[1],
        "dit",
        "single_block",
        2,
    )
    sample(patched)
    assert max(filled) == 1
    assert run.keys_values == {}
    assert run.region_tokens == {}


def test_an_interrupted_run_leaves_nothing_and_the_next_one_is_the_same(base, adapter):
    patched = applied(base, adapter)
    expected = sample(patched)
    run = patched.get_wrappers("apply_model", KEY)[0].__closure__[0].cell_contents.__self__.run
    broken = patched.clone()

    def stop(args, extra):
        raise comfy.model_management.InterruptProcessingException

    broken.set_model_patch_replace(stop, "dit", "single_block", 1)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(broken)
    assert run.keys_values == {}
    assert torch.equal(sample(patched), expected)
