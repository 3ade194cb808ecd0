"""A frozen linear layer that keeps its matrix packed and widens it when it is used, in the backward pass once more.

fp8   8 bits a weight and one scale, a power of two, for the matrix: files that were fp8 before keep every bit
int8  8 bits a weight and a scale a row
nf4   bitsandbytes' 4 bits a weight, a scale for 64 weights, and the scales in 8 bits (QLoRA, arXiv 2305.14314)

torchao's weight-only int8 and fp8 compute the same, but keep the widened matrix for the backward pass, so that a block
would take as much memory as in bf16; its fp8 scales round files anew that are fp8 already.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
Packing = Literal["fp8", "int8", "nf4"]
_INT8_MAX = 127
_NF4_BLOCK, _NF4_SCALES_BLOCK = 64, 256  # weights that share a scale, scales that share one


class NarrowLinear(nn.Module):
    """`y = x W^T + b`, W packed. Gradients reach the input only.

    Until `store` is called, `weight` has the shape of W and no values.
    """

    def __init__(self, entered: int, left: int, bias: bool, packing: Packing) -> None:
        super().__init__()
        self.in_features, self.out_features = entered, left
        self.packing = packing
        self.weight = nn.Parameter(torch.empty(left, entered, device="meta"), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(left), requires_grad=False) if bias else None

    def store(self, weight: Tensor, home: torch.device | None = None) -> None:
        """Takes a matrix [out, in] of any type, on the device that packs it; it is kept there, or at home."""
        for name, value in _FORMATS[self.packing].pack(weight).items():
            setattr(self, name, nn.Parameter(value.to(home or value.device), requires_grad=False))

    def widened(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix [out, in] that is computed with."""
        return _FORMATS[self.packing].widen(self._packed(), (self.out_features, self.in_features), dtype)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        shape = (self.out_features, self.in_features)
        return _WidenedLinear.apply(x, bias, shape, self.packing, *self._packed())

    def _packed(self) -> list[Tensor]:
        return [getattr(self, name) for name in _FORMATS[self.packing].names]


class _WidenedLinear(torch.autograd.Function):
    """Saves the packed matrix for the backward pass, not a widened copy of it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, shape: tuple[int, int], packing: Packing, *packed: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*packed)
        ctx.shape, ctx.packing = shape, packing
        return nn.functional.linear(x, _FORMATS[packing].widen(packed, shape, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        packed = ctx.saved_tensors
        return grad @ _FORMATS[ctx.packing].widen(packed, ctx.shape, grad.dtype), *[None] * (3 + len(packed))


def replace_linears(model: nn.Module, packing: Packing) -> None:
    """Swaps every linear layer inside the transformer's blocks for an empty `NarrowLinear`."""
    for blocks in (model.transformer_blocks, model.single_transformer_blocks):
        for parent in list(blocks.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear):
                    with torch.device("meta"):
                        narrow = NarrowLinear(layer.in_features, layer.out_features, layer.bias is not None, packing)
                    setattr(parent, name, narrow)


def check_packing(packing: Packing) -> None:
    """RuntimeError in words where a library that it needs is missing."""
    if packing != "nf4":
        return
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            "base.precision is nf4, which needs bitsandbytes, and that is not installed. Run `python -m pip install "
            "bitsandbytes`, or set base.precision=fp8 (twice the memory for the base model)."
        ) from error


def _pack_fp8(weight: Tensor) -> Mapping[str, Tensor]:
    wide = weight.float()
    largest = wide.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    exponent = torch.floor(torch.log2(torch.finfo(FP8).max / largest))
    return {"weight": (wide * torch.exp2(exponent)).to(FP8), "scale": torch.exp2(-exponent)}


def _pack_int8(weight: Tensor) -> Mapping[str, Tensor]:
    wide = weight.float()
    largest = wide.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    # Scales that bf16 holds exactly make the widened matrix the same whatever is computed in, but for its last bit.
    scale = (largest / _INT8_MAX).bfloat16().float()
    narrow = (wide / scale).round().clamp(-_INT8_MAX, _INT8_MAX).to(torch.int8)
    return {"weight": narrow, "scale": scale}


def _widen_scaled(packed: Sequence[Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    weight, scale = packed
    return weight.to(dtype).mul_(scale.to(dtype))


def _pack_nf4(weight: Tensor) -> Mapping[str, Tensor]:
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(
        weight.float().contiguous(), blocksize=_NF4_BLOCK, compress_statistics=True, quant_type="nf4"
    )
    return {
        "weight": packed,
        "scale": state.absmax,
        "scale_mean": state.offset,
        "scale_scale": state.state2.absmax,
        "values": state.code,
        "scale_values": state.state2.code,
    }


def _widen_nf4(packed: Sequence[Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    weight, scale, scale_mean, scale_scale, values, scale_values = packed
    scales = QuantState(scale_scale, code=scale_values, blocksize=_NF4_SCALES_BLOCK, dtype=torch.float32)
    state = QuantState(scale, torch.Size(shape), values, _NF4_BLOCK, "nf4", dtype, scale_mean, scales)
    return dequantize_4bit(weight, state)


@dataclass(frozen=True)
class _Format:
    """How a matrix is packed to tensors of these names, and widened to [out, in] again."""

    names: tuple[str, ...]
    pack: Callable[[Tensor], Mapping[str, Tensor]]
    widen: Callable[[Sequence[Tensor], tuple[int, int], torch.dtype], Tensor]


_FORMATS: Mapping[Packing, _Format] = {
    "fp8": _Format(("weight", "scale"), _pack_fp8, _widen_scaled),
    "int8": _Format(("weight", "scale"), _pack_int8, _widen_scaled),
    "nf4": _Format(("weight", "scale", "scale_mean", "scale_scale", "values", "scale_values"), _pack_nf4, _widen_nf4),
}
