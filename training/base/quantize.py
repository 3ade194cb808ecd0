"""Weight-only quantization: a frozen linear layer that dequantizes its matrix for each pass, forward and backward.

fp8   8 bits a weight and one scale, a power of two, for the matrix: files that were fp8 before keep every bit
int8  8 bits a weight and a scale a row
nf4   bitsandbytes' 4 bits a weight, a scale for 64 weights, and the scales in 8 bits (QLoRA, arXiv 2305.14314)

torchao's weight-only int8 and fp8 compute the same, but keep the dequantized matrix for the backward pass, so that a
block would take as much memory as in bf16; its fp8 scales round files again that are fp8 already.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .block_swap import blocks_of

FP8 = torch.float8_e4m3fn
Quantization = Literal["fp8", "int8", "nf4"]
_INT8_MAX = 127
_NF4_BLOCK, _NF4_SCALES_BLOCK = 64, 256  # weights that share a scale, scales that share one


class QuantizedLinear(nn.Module):
    """`y = x W^T + b`, W quantized. Gradients reach the input only.

    Until `store` is called, `weight` has the shape of W and no values.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, quantization: Quantization) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.quantization: Quantization = quantization
        self.weight = nn.Parameter(torch.empty(out_features, in_features, device="meta"), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None

    def store(self, weight: Tensor, home: torch.device | None = None) -> None:
        """Takes a matrix [out, in] of any type, on the device that quantizes it; it is kept there, or at `home`."""
        for name, value in _FORMATS[self.quantization].quantize(weight).items():
            setattr(self, name, nn.Parameter(value.to(home or value.device), requires_grad=False))

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix [out, in] that is computed with."""
        return _FORMATS[self.quantization].dequantize(self._quantized(), (self.out_features, self.in_features), dtype)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        shape = (self.out_features, self.in_features)
        return _DequantizedLinear.apply(x, bias, shape, self.quantization, *self._quantized())

    def _quantized(self) -> list[Tensor]:
        return [getattr(self, name) for name in _FORMATS[self.quantization].names]


class _DequantizedLinear(torch.autograd.Function):
    """Saves the quantized matrix for the backward pass, not a dequantized copy of it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, shape: tuple[int, int], quantization: Quantization, *quantized: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*quantized)
        ctx.shape, ctx.quantization = shape, quantization
        return nn.functional.linear(x, _FORMATS[quantization].dequantize(quantized, shape, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        quantized = ctx.saved_tensors
        # None for the bias (frozen too), the shape, the quantization and each quantized tensor.
        return grad @ _FORMATS[ctx.quantization].dequantize(quantized, ctx.shape, grad.dtype), *[None] * (
            3 + len(quantized)
        )


def replace_linears(model: nn.Module, quantization: Quantization) -> None:
    """Swaps every linear layer inside the transformer's blocks for an empty `QuantizedLinear`."""
    for block in blocks_of(model):
        # Lists, since the tree is changed while it is walked.
        for parent in list(block.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear):
                    with torch.device("meta"):
                        quantized = QuantizedLinear(
                            layer.in_features, layer.out_features, layer.bias is not None, quantization
                        )
                    setattr(parent, name, quantized)


def check_quantization(quantization: Quantization) -> None:
    """RuntimeError where a library that it needs is missing."""
    if quantization != "nf4":
        return
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            "base.precision is nf4, which needs bitsandbytes, and that is not installed. Run `python -m pip install "
            "bitsandbytes`, or set base.precision=fp8 (twice the memory for the base model)."
        ) from error


def _quantize_fp8(weight: Tensor) -> Mapping[str, Tensor]:
    wide = weight.float()
    # The smallest normal number keeps a matrix of zeros from a scale of infinity.
    largest = wide.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    exponent = torch.floor(torch.log2(torch.finfo(FP8).max / largest))
    return {"weight": (wide * torch.exp2(exponent)).to(FP8), "scale": torch.exp2(-exponent)}


def _quantize_int8(weight: Tensor) -> Mapping[str, Tensor]:
    wide = weight.float()
    largest = wide.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    # Scales that bf16 holds exactly make the dequantized matrix the same in every compute type, but for its last bit.
    scale = (largest / _INT8_MAX).bfloat16().float()
    # Rounded to bf16 the scale may come out smaller than it is, which lifts the largest weight past 127.
    quantized = (wide / scale).round().clamp(-_INT8_MAX, _INT8_MAX).to(torch.int8)
    return {"weight": quantized, "scale": scale}


def _dequantize_scaled(quantized: Sequence[Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    weight, scale = quantized
    # In place: the cast has just made a tensor of its own, and a second one would double what a pass needs.
    return weight.to(dtype).mul_(scale.to(dtype))


def _quantize_nf4(weight: Tensor) -> Mapping[str, Tensor]:
    from bitsandbytes.functional import quantize_4bit

    # With compress_statistics the state has a second one, which bitsandbytes does not say in its types.
    state: Any
    quantized, state = quantize_4bit(
        weight.float().contiguous(), blocksize=_NF4_BLOCK, compress_statistics=True, quant_type="nf4"
    )
    return {
        "weight": quantized,
        "scale": state.absmax,
        "scale_mean": state.offset,
        "scale_scale": state.state2.absmax,
        "values": state.code,
        "scale_values": state.state2.code,
    }


def _dequantize_nf4(quantized: Sequence[Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    weight, scale, scale_mean, scale_scale, values, scale_values = quantized
    # Built from tensors for each pass: as a plain object it would neither move with the layer nor be swapped.
    scales = QuantState(scale_scale, code=scale_values, blocksize=_NF4_SCALES_BLOCK, dtype=torch.float32)
    state = QuantState(scale, torch.Size(shape), values, _NF4_BLOCK, "nf4", dtype, scale_mean, scales)
    return dequantize_4bit(weight, state)


@dataclass(frozen=True)
class _Format:
    """How a matrix is quantized to tensors of these names, and dequantized to [out, in] again."""

    names: tuple[str, ...]
    quantize: Callable[[Tensor], Mapping[str, Tensor]]
    dequantize: Callable[[Sequence[Tensor], tuple[int, int], torch.dtype], Tensor]


_FORMATS: Mapping[Quantization, _Format] = {
    "fp8": _Format(("weight", "scale"), _quantize_fp8, _dequantize_scaled),
    "int8": _Format(("weight", "scale"), _quantize_int8, _dequantize_scaled),
    "nf4": _Format(
        ("weight", "scale", "scale_mean", "scale_scale", "values", "scale_values"), _quantize_nf4, _dequantize_nf4
    ),
}
