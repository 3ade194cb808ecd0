"""Opening golden files: tensors upcast to float32 and the JSON kept in the header."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


def tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file; half-precision ones upcast, as they were stored exactly."""
    with safe_open(path, framework="pt") as reader:
        stored = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118 - not a mapping
    return {key: value.float() if value.dtype == torch.bfloat16 else value for key, value in stored.items()}


def header(path: Path) -> dict:
    with safe_open(path, framework="pt") as reader:
        return json.loads(reader.metadata()["json"])


def under(prefix: str, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
