"""The steps between which a person is generated."""

import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.comfyui.sampling import (
    applied,
    sample,
)
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.timing import Window


def test_the_window_is_read_from_the_live_model_sampling(base, adapter):
    from comfy_extras.nodes_model_advanced import ModelSamplingFlux

    steps = (1.0, 0.9, 0.7, 0.5, 0.25, 0.0)
    window = applied(base, adapter, window=Window(0.5, 1.0))
    calls = []

    def spy(model):
        used = []
        original = adapter.attention(tuple(Branch)).model[0].forward

        def counted(*args, **kwargs):
            used.append(1)
            return original(*args, **kwargs)

        adapter.attention(tuple(Branch)).model[0].forward = counted
        try:
            sample(model, sigmas=steps)
        finally:
            adapter.attention(tuple(Branch)).model[0].forward = original
        calls.append(len(used))

    spy(applied(base, adapter))
    spy(window)
    shifted = ModelSamplingFlux().patch(window, 0.5, 0.5, 1024, 1024)[0]
    assert shifted.get_model_object("model_sampling").percent_to_sigma(0.5) < 0.7
    spy(shifted)
    spy(applied(base, adapter, window=Window(0.0, 0.5)))
    spy(applied(base, adapter, window=Window(1.0, 1.0)))
    assert calls[0] == 5
    middle = base.get_model_object("model_sampling").percent_to_sigma(0.5)
    assert calls[1] == sum(sigma <= middle for sigma in steps[:-1])
    assert calls[2] < calls[1]
    assert calls[3] == sum(sigma >= middle for sigma in steps[:-1])
    assert calls[4] == 0


def test_a_step_on_the_windows_edge_is_not_lost_to_rounding(base, adapter):
    edge = base.get_model_object("model_sampling").percent_to_sigma(0.5)
    steps = (edge * (1 + 2e-5), 0.0)
    assert not torch.equal(
        sample(applied(base, adapter, window=Window(0.5, 1.0)), sigmas=steps), sample(base, sigmas=steps)
    )
