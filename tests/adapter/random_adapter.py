"""Adapter files of any size with seeded random weights, in the layouts of the released ones."""

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...withanyone_core.adapter.checkpoint import expected_keys
from ...withanyone_core.adapter.shape import BranchShape

ARC = BranchShape(hidden=64, heads=2, layers=5, arc_tokens=4, embedding=512)
SIG = BranchShape(hidden=64, heads=2, layers=5, arc_tokens=4, embedding=512, siglip_width=32)


def random_tensors(
    shapes: tuple[BranchShape, ...] = (ARC, SIG),
    layout: Literal["dual", "single"] = "dual",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for shape in shapes:
        for key, size in expected_keys(shape, layout).items():
            noise = torch.randn(size, generator=generator)
            if len(size) > 1:
                tensors[key] = noise / size[1] ** 0.5
            else:
                tensors[key] = 0.1 * noise + (1.0 if key.endswith("weight") else 0.0)
            tensors[key] = tensors[key].to(dtype)
    return tensors


def file_behind(tensor: Tensor) -> str:
    """Name of the file whose pages a tensor is, or nothing where it owns its memory (Linux)."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, _, *name = line.split(maxsplit=5)
        begin, end = (int(address, 16) for address in span.split("-"))
        if begin <= tensor.data_ptr() < end:
            return Path(name[0]).name if name and name[0].startswith("/") else ""
    return ""


def random_adapter(path: Path, **choices: object) -> Path:
    save_file(random_tensors(**choices), path)
    return path
