"""Weights that come with scales (scaled fp8), multiplied back while they are read."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from .files import Tensors

_SCALES = (".scale_weight", ".weight_scale")
# What scaled files hold beside weights and scales, and what only quantized computing reads.
_MARKS = re.compile(r"(^|\.)(scaled_fp8|scale_input|input_scale|comfy_quant)$")


def dequantize_scaled(path: Path, tensors: Tensors, keys: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in `keys`, those that come with a scale multiplied by it, one after the other.

    Raises ValueError for scales that are neither one for a matrix nor one a row.
    """
    for name, key in weights_of(keys):
        tensor = tensors[key]
        scale = next((keys[each] for each in _scale_names(name) if each in keys), None)
        yield name, tensor if scale is None else _scaled_back(path, name, tensor, tensors[scale])


def weights_of(keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and keys without those of scales and marks."""
    return ((name, key) for name, key in keys.items() if not name.endswith(_SCALES) and not _MARKS.search(name))


def _scale_names(name: str) -> tuple[str, ...]:
    return tuple(name.removesuffix(".weight") + end for end in _SCALES) if name.endswith(".weight") else ()


def _scaled_back(path: Path, name: str, weight: Tensor, scale: Tensor) -> Tensor:
    """The matrix that a scaled one stands for, float32; one scale for all or one a row."""
    if scale.numel() not in (1, weight.shape[0]):
        raise ValueError(
            f"{path.name}: {name} has scales of shape {list(scale.shape)}; expected one for the matrix or one a row."
        )
    return weight.float() * scale.float().reshape(-1, *[1] * (weight.ndim - 1))
