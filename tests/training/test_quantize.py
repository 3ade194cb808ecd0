"""Packed matrices against the same matrices dequantized: values, gradients, memory."""

import copy
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from withanyone_pack.tests.training.small_gradients import gradients, small_flux

from training.base.quantize import QuantizedLinear, replace_linears
from training.base.transformer import load_transformer

PACKINGS = ("fp8", "int8", "nf4")
ERROR = {"fp8": 0.04, "int8": 0.015, "nf4": 0.12}  # of weights drawn from a normal distribution
BYTES = {"fp8": 1, "int8": 1, "nf4": 0.5}
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.needs_gpu))


@pytest.fixture(params=PACKINGS)
def quantization(request):
    if request.param == "nf4":
        pytest.importorskip("bitsandbytes")
    return request.param


def matrix(rows=256, columns=128):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def quantized(quantization, weight, device="cpu"):
    layer = QuantizedLinear(weight.shape[1], weight.shape[0], True, quantization)
    layer.store(weight.to(device))
    layer.bias = nn.Parameter(torch.linspace(-1, 1, weight.shape[0], device=device), requires_grad=False)
    return layer


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_is_that_of_its_dequantized_matrix(quantization, dtype, device):
    layer = quantized(quantization, matrix(), device)
    wide = layer.dequantize(dtype)
    error = (wide.float() - matrix().to(device)).norm() / matrix().norm()
    assert ERROR[quantization] / 5 < error < ERROR[quantization]
    ours, theirs = (torch.ones(3, 128, device=device, dtype=dtype).requires_grad_() for _ in range(2))
    found, expected = layer(ours), nn.functional.linear(theirs, wide, layer.bias.to(dtype))
    found.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(found, expected)
    assert torch.equal(ours.grad, theirs.grad)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_neither_the_layer_nor_the_backward_pass_keeps_a_wide_matrix(quantization):
    layer, kept = quantized(quantization, matrix(512, 512)), []

    def pack(tensor):
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(torch.ones(3, 512, requires_grad=True))
    held = sum(parameter.nbytes for name, parameter in layer.named_parameters() if name != "bias")
    scales_and_tables = {"fp8": 4, "int8": 4 * 512, "nf4": 512 * 512 / 64 * (1 + 4 / 256) + 4 + (16 + 256) * 4}
    assert sum(kept) == held == BYTES[quantization] * 512 * 512 + scales_and_tables[quantization]


def test_gradients_through_a_quantized_base_are_those_of_the_dequantized_one(quantization):
    """Of the image and of the adapter in it, with blocks recomputed."""
    quantized = small_flux()
    replace_all(quantized, quantization)
    wide = copy.deepcopy(quantized)
    for parent in list(wide.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, QuantizedLinear):
                plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
                plain.weight, plain.bias = nn.Parameter(layer.dequantize(), requires_grad=False), layer.bias
                setattr(parent, name, plain)
    found, expected = gradients(quantized), gradients(wide)
    assert len(found) > 2 * 5
    for name, value in expected.items():
        assert value.abs().max() > 0, name
        assert (found[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


def replace_all(model, quantization):
    wide = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    replace_linears(model, quantization)
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            layer.store(wide[name].weight)
            layer.bias = wide[name].bias


def test_a_file_is_packed_while_it_is_read(tmp_path, quantization):
    base = small_flux()
    save_file(base.state_dict(), tmp_path / "flux.safetensors")
    read = partial(load_transformer, tmp_path / "flux.safetensors", torch.float32)
    quantized, wide = read(quantization=quantization), read()
    layers = [layer for layer in quantized.modules() if isinstance(layer, QuantizedLinear)]
    assert len(layers) == 2 * 14 + 3 * 6
    assert all(not parameter.is_meta and not parameter.requires_grad for parameter in quantized.parameters())
    assert quantized.x_embedder.weight.dtype == torch.float32
    one, other = gradients(quantized)["made"], gradients(wide)["made"]
    assert 0 < (one - other).norm() / other.norm() < 0.2


def test_without_bitsandbytes_nf4_is_refused_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(RuntimeError, match=r"nf4, which needs bitsandbytes.*`python -m pip install bitsandbytes`"):
        load_transformer(tmp_path / "flux.safetensors", quantization="nf4")
