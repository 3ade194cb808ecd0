"""Optimizers: which is made of which settings, and that their states can be put back exactly."""

import sys

import pytest
import torch
from torch import nn
from withanyone_pack.tests.training.rooms import add_training

add_training()

from training.configuration.learning import OptimSettings
from training.loop.optimizer import (
    make_optimizer,
    optimizer_class,
    optimizer_numbers,
    optimizer_tensors,
    restore_optimizer,
    trial_bytes,
)

GPU = pytest.mark.needs_gpu
KINDS = {
    "adamw": ({"name": "adamw"}, "cpu"),
    "fused": ({"name": "adamw", "fused": True}, "cpu"),
    "prodigy": ({"name": "prodigy", "lr": 1.0}, "cpu"),
    "lion": ({"name": "Lion", "betas": (0.8, 0.9), "options": {"fixed_decay": True}}, "cpu"),
    "came": ({"name": "came"}, "cpu"),
}
ON_CUDA = {f"{kind}_cuda": (settings, "cuda") for kind, (settings, _) in KINDS.items()}
ON_CUDA["adamw8bit_cuda"] = ({"name": "adamw8bit"}, "cuda")
ALL = [*KINDS, *(pytest.param(kind, marks=GPU) for kind in ON_CUDA)]


def parameters(device):
    generator = torch.Generator().manual_seed(0)
    # 8-bit states are for tensors of 4096 numbers or more.
    return {
        name: nn.Parameter(torch.randn(*shape, generator=generator).to(device))
        for name, shape in (("block.to_q", (128, 64)), ("block.norm", (64,)))
    }


def advance(optimizer, chosen, steps, start=0):
    for number in range(start, start + steps):
        generator = torch.Generator().manual_seed(number)
        for parameter in chosen.values():
            wanted = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            parameter.grad = parameter.detach() - wanted
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * 0.9
        optimizer.step()


@pytest.mark.parametrize("kind", ALL)
def test_put_back_states_go_on_to_the_last_bit(kind):
    options, device = (KINDS | ON_CUDA)[kind]
    settings = OptimSettings(**options)
    whole = parameters(device)
    optimizer = make_optimizer(settings, whole)
    advance(optimizer, whole, 4)
    names = {parameter: name for name, parameter in whole.items()}
    tensors = {name: value.cpu().clone() for name, value in optimizer_tensors(optimizer, names).items()}
    numbers = optimizer_numbers(optimizer, names)
    later = {name: nn.Parameter(value.detach().clone()) for name, value in whole.items()}
    again = make_optimizer(settings, later)
    restore_optimizer(again, later, tensors, numbers)
    for group, other in zip(again.param_groups, optimizer.param_groups, strict=True):
        group["lr"] = other["lr"]
    advance(optimizer, whole, 3, start=4)
    advance(again, later, 3, start=4)
    for name, value in whole.items():
        assert torch.equal(later[name], value), name
    assert all(parameter.isfinite().all() for parameter in whole.values())


@pytest.mark.parametrize(("fused", "expected"), [("auto", False), (True, True), (False, False)])
def test_the_fused_step_is_for_cuda_or_where_it_is_asked_for(fused, expected):
    optimizer = make_optimizer(OptimSettings(fused=fused), parameters("cpu"))
    assert bool(optimizer.defaults["fused"]) == expected


@GPU
def test_on_cuda_the_step_is_fused():
    assert make_optimizer(OptimSettings(), parameters("cuda")).defaults["fused"] is True


def test_prodigy_finds_a_rate_that_adamw_would_have_to_be_given():
    """From a millionth to one that is of use, on a bowl whose bottom is far away."""
    chosen = {"bowl": nn.Parameter(torch.full((32, 32), 10.0))}
    optimizer = make_optimizer(OptimSettings(name="prodigy", lr=1.0, weight_decay=0.0), chosen)
    for _ in range(200):
        chosen["bowl"].grad = chosen["bowl"].detach().clone()
        optimizer.step()
    assert chosen["bowl"].abs().max() < 1
    assert optimizer.param_groups[0]["d"] > 1e-3


def test_missing_libraries_are_named_with_their_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(RuntimeError, match=r"`python -m pip install pytorch-optimizer`, or set optim\.name=adamw"):
        optimizer_class(OptimSettings(name="prodigy", lr=1.0))
    with pytest.raises(RuntimeError, match=r"`python -m pip install bitsandbytes`, or set optim\.name=adamw"):
        optimizer_class(OptimSettings(name="adamw8bit"))


def test_prodigy_with_a_rate_for_adamw_is_refused():
    with pytest.raises(ValueError, match=r"multiplies it by lr \(0\.0001\); set optim\.lr=1"):
        OptimSettings(name="prodigy")


def test_a_class_of_pytorch_optimizer_gets_the_settings_and_its_options():
    settings = OptimSettings(**KINDS["lion"][0], lr=3e-4, weight_decay=0.2)
    assert optimizer_class(settings).__name__ == "Lion"
    matrices, rest = make_optimizer(settings, parameters("cpu")).param_groups
    assert (matrices["lr"], matrices["betas"], matrices["weight_decay"]) == (3e-4, (0.8, 0.9), 0.2)
    assert matrices["fixed_decay"] is True
    assert rest["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Lionn"}, r"optim\.name is Lionn; .*did you mean Lion\?"),
        ({"name": "adamw9"}, "did you mean adamw"),
        (
            {"name": "Lion", "options": {"weight_decuple": True}},
            "has weight_decuple, which Lion does not",
        ),
        ({"name": "Lion", "options": {"betas": 3}}, "Lion, which refuses its settings"),
        ({"name": "SAM"}, "cannot work without base_optimizer"),
        ({"name": "AdaHessian"}, "cannot take a step from gradients alone"),
        ({"name": "ScheduleFreeAdamW"}, "could not be resumed as the same run"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before_anything_is_loaded(changes, words):
    with pytest.raises(ValueError, match=words):
        optimizer_class(OptimSettings(**changes))


def test_options_of_our_own_optimizers_are_settings():
    with pytest.raises(ValueError, match="leave options out"):
        OptimSettings(options={"amsgrad": True})


def test_a_class_without_the_package_names_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(RuntimeError, match="`python -m pip install pytorch-optimizer`"):
        optimizer_class(OptimSettings(name="Lion"))


def test_memory_of_a_strangers_states_is_measured():
    assert trial_bytes(OptimSettings(name="Lion")) == pytest.approx(4, rel=0.05)
