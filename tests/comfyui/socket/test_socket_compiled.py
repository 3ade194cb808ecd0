"""The socket in a compiled model: equal to the eager one whatever changes, without compiling again for settings.

Recent ComfyUI drops the compiler's guards on `transformer_options`; both ways are tried, by ComfyUI's own entry.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch._dynamo import config as dynamo_config
from torch._dynamo import reset
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from comfy.ldm.modules.attention import attention_pytorch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.comfyui.sampling import (
    LEFT,
    RIGHT,
    applied,
    person,
    sample,
    small_adapter,
    two_faces,
)
from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.regions.layout import Box, PlacedFace
from withanyone_pack.withanyone_core.timing import Curve, Window

STEPS = (1.0, 0.4, 0.0)
SLIDER = {Branch.ARC: 0.9, Branch.SIG: 0.1}
SIZE = {**SMALL, "depth": 1, "depth_single_blocks": 2}


class Compiler:
    """Backend "eager" that counts its graphs."""

    def __init__(self) -> None:
        self.operations: list[list[str]] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list) -> Callable:
        self.operations.append([str(node.target) for node in graph.graph.nodes])
        return graph


def without_options(entries):
    return ["transformer_options" not in entry.name for entry in entries]


@pytest.fixture(params=[False, True], ids=["all guards", "guards dropped"])
def compiled(request):
    """Compiles a MODEL as ComfyUI's TorchCompileModel does, before and since December 2025."""
    reset()
    backend = Compiler()

    def compiled(model):
        model = model.clone()
        options = {"guard_filter_fn": without_options} if request.param else None
        set_torch_compile_wrapper(model, backend=backend, options=options)
        return model

    yield compiled, backend
    reset()


@pytest.fixture
def base():
    """Its attention is one that can be compiled; ComfyUI's choice for CPUs reads /proc and breaks the graph."""
    model = small_flux(SIZE)
    model.model_options["transformer_options"]["optimized_attention_override"] = pytorch_attention
    return model


@pytest.fixture
def adapter(tmp_path):
    return small_adapter(tmp_path, tuple(replace(shape, layers=3) for shape in (ARC, SIG)))


def pytorch_attention(_, *args, **kwargs):
    return attention_pytorch(*args, **kwargs)


def settings(base, adapter):
    """One model a row: what a user changes between two runs."""
    one, two = two_faces()
    moved, overlapping = replace(one, region=Box(0.5, 0.1, 0.9, 0.4)), replace(one, region=Box(0.1, 0.2, 0.8, 0.8))
    late = replace(two, window=Window(0.5, 1.0))
    return {
        "two people": applied(base, adapter),
        "slider": applied(base, adapter, weights=SLIDER),
        "curve": applied(base, adapter, curve=Curve(2.0, 0.0)),
        "one person": applied(base, adapter, (one,)),
        "another person": applied(base, adapter, (PlacedFace(person(7), LEFT), PlacedFace(person(8), RIGHT))),
        "moved": applied(base, adapter, (moved, two)),
        "overlapping": applied(base, adapter, (overlapping, two)),
        "window": applied(base, adapter, window=Window(0.0, 0.5)),
        "a person's window": applied(base, adapter, (one, late)),
        "closed window": applied(base, adapter, window=Window(1.0, 1.0)),
    }


def test_compiled_equals_eager_whatever_changes_and_settings_compile_nothing_again(base, adapter, compiled):
    compile_model, backend = compiled

    def check(name, model, compiled_model=None):
        out = sample(compiled_model or compile_model(model), sigmas=STEPS)
        assert torch.equal(out, sample(model, sigmas=STEPS)), name

    one, two = two_faces()
    rows = settings(base, adapter)
    check("without Apply", base)
    check("Apply added", rows["two people"])
    compiled_once = len(backend.operations)
    for name, model in rows.items():
        check(name, model)
    assert len(backend.operations) == compiled_once
    check("Apply removed", base)
    check("two Applies", applied(applied(base, adapter, (one,)), adapter, (two,)))
    check("one again", rows["two people"])
    check("Apply behind the compiling node", rows["slider"], applied(compile_model(base), adapter, weights=SLIDER))


def test_flux_own_blocks_stay_compiled_however_many(tmp_path, compiled):
    compile_model, backend = compiled
    doubles, singles = 4, 9
    deep = small_flux({**SMALL, "depth": doubles, "depth_single_blocks": singles})
    deep.model_options["transformer_options"]["optimized_attention_override"] = pytorch_attention
    shapes = tuple(replace(shape, layers=doubles + singles) for shape in (ARC, SIG))
    with dynamo_config.patch(fail_on_recompile_limit_hit=True):
        sample(compile_model(applied(deep, small_adapter(tmp_path, shapes))), sigmas=(1.0, 0.0))
    attentions = [name for names in backend.operations for name in names if "scaled_dot_product" in name]
    assert len(attentions) == 2  # one graph serves all double blocks, one all single blocks
