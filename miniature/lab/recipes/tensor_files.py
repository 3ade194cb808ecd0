"""Weights and states as safetensors files."""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from withanyone_core.files.tensors import save_tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Writes the file under another name and renames it, so that an interrupted run leaves the old file whole.

    The mode is that of any new file in the folder, which is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    save_tensors(part, tensors, header)
    os.replace(part, path)
