"""A frozen linear layer that keeps its matrix in fp8 and widens it when it is used."""

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
Context = torch.autograd.function.FunctionCtx


class Fp8Linear(nn.Module):
    """`y = x (scale W)^T + b`, W in fp8. Gradients reach the input only.

    The scale is a power of two that brings the largest value near fp8's: matrices that were fp8 before keep every bit.
    """

    def __init__(self, entered: int, left: int, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = entered, left
        self.weight = nn.Parameter(torch.empty(left, entered, dtype=FP8), requires_grad=False)
        self.scale = nn.Parameter(torch.empty((), dtype=torch.float32), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(left), requires_grad=False) if bias else None

    def store(self, weight: Tensor) -> None:
        """Takes a matrix [out, in] of any type."""
        wide = weight.float()
        largest = wide.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        exponent = torch.floor(torch.log2(torch.finfo(FP8).max / largest))
        self.weight = nn.Parameter((wide * torch.exp2(exponent)).to(FP8), requires_grad=False)
        self.scale = nn.Parameter(torch.exp2(-exponent), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return _WidenedLinear.apply(x, self.weight, self.scale, bias)


class _WidenedLinear(torch.autograd.Function):
    """Saves the narrow matrix for the backward pass, not a widened copy of it."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return nn.functional.linear(x, _widened(weight, scale, x.dtype), bias)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, scale = ctx.saved_tensors
        return grad @ _widened(weight, scale, grad.dtype), None, None, None


def replace_linears(model: nn.Module) -> None:
    """Swaps every linear layer inside the transformer's blocks for an empty `Fp8Linear` on the meta device."""
    for blocks in (model.transformer_blocks, model.single_transformer_blocks):
        for parent in list(blocks.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear):
                    with torch.device("meta"):
                        setattr(parent, name, Fp8Linear(layer.in_features, layer.out_features, layer.bias is not None))


def _widened(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype) * scale.to(dtype)
