"""FLUX.1 and an adapter file of random weights, small or at full size, for ComfyUI's sampler.

Import after `add_comfyui()`.
"""

from dataclasses import replace
from pathlib import Path

import comfy.model_patcher
import torch
from random_adapter import write_adapter
from random_flux import FLUX_1, random_flux
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.comfyui.small_flux import SMALL
from withanyone_pack.withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

# Text as wide as tests' prompts are: the blocks, which are all of the time, do not know.
FULL = {**FLUX_1, "context_in_dim": SMALL["context_in_dim"], "vec_in_dim": SMALL["vec_in_dim"]}


def models(
    folder: Path, device: torch.device, is_small: bool, offload: torch.device | None = None
) -> tuple[comfy.model_patcher.ModelPatcher, ComfyAdapter, int]:
    """FLUX.1, its adapter, and how many latent cells a side of an image has."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    adapter = ComfyAdapter.open(write_adapter(folder / "adapter.safetensors", shapes(is_small), dtype, device))
    return random_flux(SMALL if is_small else FULL, dtype, device, offload), adapter, 16 if is_small else 128


def shapes(is_small: bool) -> dict[Branch, BranchShape]:
    """With SigLIP tokens of the width of those of tests' people."""
    if is_small:
        return {Branch.ARC: ARC, Branch.SIG: SIG}
    sizes = {"hidden": FULL["hidden_size"], "heads": FULL["num_heads"], "arc_tokens": 8}
    layers = FULL["depth"] + FULL["depth_single_blocks"]
    return {branch: replace(shape, layers=layers, **sizes) for branch, shape in ((Branch.ARC, ARC), (Branch.SIG, SIG))}
