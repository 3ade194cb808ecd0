"""Tensors of weight files: saved so that others may read the file too, and checked for NaN."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file with the mode that any new file gets there: safetensors' own is for its owner alone.

    Raises OSError or SafetensorError where the disk does not take it.
    """
    save_file(dict(tensors), path, None if header is None else dict(header))
    if os.name != "nt":
        path.chmod(_usual_mode(path))


def _usual_mode(path: Path) -> int:
    """The mode of a new file beside `path`: what umask and the folder's rules make of it cannot be asked otherwise."""
    probe = path.with_name(f"{path.name}.{os.getpid()}.part")
    with probe.open("wb") as stream:
        mode = os.fstat(stream.fileno()).st_mode & 0o777
    probe.unlink()
    return mode


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor of any floating type but fp8 holds neither NaN nor infinity.

    The extremes tell: both are NaN where any value is. Asking each value makes a second tensor of every one, two
    hundred times as slow on the billions of an adapter.
    """
    return not tensor.numel() or bool(torch.stack(torch.aminmax(tensor.detach())).isfinite().all())
