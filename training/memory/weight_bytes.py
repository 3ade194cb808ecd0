"""Bytes of the base model's weights in each precision, plain or quantized.

In fp8, int8 and nf4 every matrix of the blocks is quantized; biases, norms and the layers outside the blocks stay bf16.

bf16  2 bytes a weight
fp8   1 byte a weight, and a float32 scale a matrix
int8  1 byte a weight, and a float32 scale a row
nf4   half a byte a weight, a byte for the largest of 64, and 4 bytes for 256 of those (QLoRA, arXiv 2305.14314,
      section 3)
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from ..base.block_swap import blocks_of

Precision = Literal["bf16", "fp32", "fp8", "int8", "nf4"]
_MATRIX: Mapping[str, Callable[[int, int], float]] = {
    "bf16": lambda rows, columns: 2 * rows * columns,
    "fp32": lambda rows, columns: 4 * rows * columns,
    "fp8": lambda rows, columns: rows * columns + 4,
    "int8": lambda rows, columns: rows * columns + 4 * rows,
    "nf4": lambda rows, columns: rows * columns * (0.5 + 1 / 64 + 4 / (64 * 256)),
}
_QUANTIZED = ("fp8", "int8", "nf4")


def compute_dtype(precision: Precision) -> torch.dtype:
    """What the model's layers compute in."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


def is_quantized(precision: Precision) -> bool:
    return precision in _QUANTIZED


def module_bytes(module: nn.Module, precision: Precision, quantized: bool) -> int:
    """Bytes of a module's parameters; `quantized`: its linear layers' matrices lie in `precision`."""
    width = compute_dtype(precision).itemsize
    total = 0.0
    for layer in module.modules():
        own = dict(layer.named_parameters(recurse=False))
        # Both nn.Linear and the layer that stands for a quantized one have these attributes.
        if quantized and {"in_features", "out_features"} <= vars(layer).keys():
            own.pop("weight", None)
            total += _MATRIX[precision](vars(layer)["out_features"], vars(layer)["in_features"])
        total += sum(width * parameter.numel() for parameter in own.values())
    return round(total)


def block_bytes(transformer: nn.Module, precision: Precision) -> list[int]:
    """Bytes of each block of a base model, double blocks first."""
    return [module_bytes(block, precision, quantized=True) for block in blocks_of(transformer)]


def base_bytes(transformer: nn.Module, precision: Precision) -> int:
    """Bytes of a whole base model."""
    outside = [child for name, child in transformer.named_children() if not name.endswith("transformer_blocks")]
    return sum(block_bytes(transformer, precision)) + sum(
        module_bytes(each, precision, quantized=False) for each in outside
    )
