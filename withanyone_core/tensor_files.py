"""Tensors to a file that others may read too."""

import os
from collections.abc import Mapping
from pathlib import Path

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
