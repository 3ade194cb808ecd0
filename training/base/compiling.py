"""torch.compile of the frozen blocks, one by one: blocks of one kind share their code, so two are compiled.

Only what a block itself computes is: the hooks on it (the adapter's, FSDP's) stay as they are around it, which is why
this is not diffusers' `compile_repeated_blocks`, that takes the hooks in.
"""

import shutil
from importlib.util import find_spec

import torch

from ..base.block_swap import blocks_of
from ..base.family import Transformer


def check_compiler(device: torch.device) -> None:
    """RuntimeError where torch.compile lacks what it needs."""
    if device.type == "cuda" and find_spec("triton") is None:
        raise RuntimeError(
            "memory.compile_blocks needs triton, which is not installed. Run `python -m pip install triton` (on "
            "Windows triton-windows), or set memory.compile_blocks=false."
        )
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise RuntimeError(
            "memory.compile_blocks needs a C++ compiler on a CPU, and none is found. Install g++, or set "
            "memory.compile_blocks=false."
        )


def compile_blocks(transformer: Transformer, backend: str = "inductor") -> None:
    """Compiles each block at its first use; swapped blocks, whose time is that of copying, stay plain."""
    for block in blocks_of(transformer):
        # Block swap has put a forward of its own into the instance.
        if "forward" not in vars(block):
            block.forward = torch.compile(block.forward, backend=backend)
