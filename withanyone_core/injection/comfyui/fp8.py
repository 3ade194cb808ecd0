"""Matrices in fp8 with a scale for each row, inside ComfyUI's casting layers."""

from collections.abc import Mapping
from typing import ClassVar

import comfy.ops
import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
# What the largest value of a row becomes. fp8 reaches 448: an adapter LoRA may make a row eight times as large.
LARGEST = 56.0


class RowScaledLinear(comfy.ops.manual_cast.Linear):
    """A Linear whose outputs are multiplied by one number each, `row_scale` [out]; the bias is added before."""

    row_scale: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        # No part of the state dict: ComfyUI's layers read weight and bias from it and know of nothing else.
        self.register_buffer("row_scale", None, persistent=False)

    def forward(self, entered: Tensor) -> Tensor:
        return super().forward(entered) * self.row_scale.to(entered.device, entered.dtype)


class Operations:
    """The layers of a module whose matrices are in fp8."""

    Linear: ClassVar = RowScaledLinear


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [out, in] in fp8 and the scale of its rows, float32 [out].

    Scales are powers of two: multiplying by one is exact in every type, and fp8's precision does not depend on where in
    its range a value lies.
    """
    smallest, largest = weight.float().aminmax(dim=1)
    extent = torch.maximum(-smallest, largest)
    # A row of zeros has no logarithm; any scale does.
    scale = torch.where(extent > 0, torch.exp2(torch.ceil(torch.log2(extent / LARGEST))), 1.0)
    return (weight.float() / scale[:, None]).to(FP8), scale


def quantized(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All tensors with their matrices in fp8, and the rows' scales by the matrix's name.

    Biases are small and sensitive: they keep their type, as multiples of the scales.
    """
    pairs = {name: quantize(tensor) for name, tensor in tensors.items() if tensor.ndim == 2}
    scales = {name: scale for name, (_, scale) in pairs.items()}
    kept = {name: pairs[name][0] if name in pairs else tensor for name, tensor in tensors.items()}
    for name in kept.keys() - pairs.keys():
        kept[name] = kept[name] / scales[name.replace(".bias", ".weight")].to(kept[name])
    return kept, scales


def set_scales(module: nn.Module, scales: Mapping[str, Tensor]) -> None:
    """Puts the rows' scales beside their matrices."""
    for name, scale in scales.items():
        module.get_submodule(name.removesuffix(".weight")).row_scale = scale
