"""Sampling small models through ComfyUI's guiders, and people to place. Import after `add_comfyui()`."""

from pathlib import Path

import comfy.model_patcher
import comfy.samplers
import torch
from einops import rearrange
from torch import Tensor

from ...withanyone_core.adapter.shape import Branch, BranchShape
from ...withanyone_core.identity import Identity
from ...withanyone_core.injection.comfyui.injection import Settings
from ...withanyone_core.injection.comfyui.parts import ComfyAdapter
from ...withanyone_core.injection.comfyui.socket import apply_adapter
from ...withanyone_core.regions.layout import Box, PlacedFace
from ..adapter.random_adapter import ARC, SIG, random_adapter

LEFT, RIGHT = Box(0.05, 0.2, 0.45, 0.8), Box(0.55, 0.2, 0.95, 0.8)
_LATENTS = {"reference_latents"}
EVEN = {Branch.ARC: 0.5, Branch.SIG: 0.5}


def person(seed: int, name: str = "person") -> Identity:
    generator = torch.Generator().manual_seed(seed)
    arcface = torch.randn(512, generator=generator)
    siglip = torch.randn(16, SIG.siglip_width, generator=generator)
    return Identity(name, arcface, siglip, torch.zeros(512, 512, 3))


def two_faces() -> tuple[PlacedFace, ...]:
    return PlacedFace(person(1), LEFT, box_number=1), PlacedFace(person(2), RIGHT, box_number=2)


def small_adapter(folder: Path, shapes: tuple[BranchShape, ...] = (ARC, SIG), **choices: object) -> ComfyAdapter:
    return ComfyAdapter.open(random_adapter(folder / "adapter.safetensors", shapes=shapes, **choices))


def applied(
    model: comfy.model_patcher.ModelPatcher,
    adapter: ComfyAdapter,
    faces: tuple[PlacedFace, ...] | None = None,
    weights: dict[Branch, float] = EVEN,
    **settings: object,
) -> comfy.model_patcher.ModelPatcher:
    return apply_adapter(model, adapter, faces or two_faces(), Settings(weights, **settings))


def prompt(seed: int, tokens: int = 12, **extras: object) -> list:
    """A CONDITIONING of random text."""
    generator = torch.Generator().manual_seed(100 + seed)
    text = torch.randn(1, tokens, 96, generator=generator)
    pooled = torch.randn(1, 48, generator=generator)
    return [[text, {"pooled_output": pooled, "guidance": 4.0, **extras}]]


def noise(seed: int = 0, batch: int = 1, height: int = 16, width: int = 20) -> Tensor:
    return torch.randn(batch, 16, height, width, generator=torch.Generator().manual_seed(200 + seed))


def sample(
    model: comfy.model_patcher.ModelPatcher,
    positive: list | None = None,
    negative: list | None = None,
    cfg: float = 1.0,
    start: Tensor | None = None,
    latent: Tensor | None = None,
    sigmas: tuple[float, ...] = (1.0, 0.7, 0.4, 0.0),
    **choices: object,
) -> Tensor:
    """Euler by ComfyUI's CFGGuider; the latent it ends with.

    Latents are FLUX.1's; a model that takes a token as one place of the latent gets them, and gives its own, so.
    """
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt_for(model, positive or prompt(0)), prompt_for(model, negative or []))
    guider.set_cfg(cfg)
    start = latent_for(model, noise() if start is None else start)
    latent = torch.zeros_like(start) if latent is None else latent_for(model, latent)
    euler = comfy.samplers.sampler_object("euler")
    return guider.sample(start, latent, euler, torch.tensor(sigmas), disable_pbar=True, seed=0, **choices)


def latent_for(model: comfy.model_patcher.ModelPatcher, latent: Tensor) -> Tensor:
    """A latent of FLUX.1 [B, C, H, W] as the model takes it: for FLUX.2 [B, 4 C, H / 2, W / 2], odd edges cut off."""
    if not joins_tokens(model) or latent.shape[1] != noise().shape[1]:
        return latent
    even = latent[..., : latent.shape[-2] // 2 * 2, : latent.shape[-1] // 2 * 2]
    return rearrange(even, "b c (h ph) (w pw) -> b (c ph pw) h w", ph=2, pw=2)


def prompt_for(model: comfy.model_patcher.ModelPatcher, conditioning: list) -> list:
    """A CONDITIONING with its reference latents as the model takes them."""
    return [
        [text, extras | {name: [latent_for(model, each) for each in extras[name]] for name in _LATENTS & extras.keys()}]
        for text, extras in conditioning
    ]


def joins_tokens(model: comfy.model_patcher.ModelPatcher) -> bool:
    """Whether a place of the model's latent is a whole image token, as FLUX.2's is."""
    return model.model.diffusion_model.patch_size == 1


def text_tokens(model: comfy.model_patcher.ModelPatcher, tokens: int = 12) -> int:
    """Of the stream, for a prompt of so many; ComfyUI fills FLUX.2's up."""
    return 512 if joins_tokens(model) else tokens


def difference(a: Tensor, b: Tensor) -> float:
    """The largest, of the largest value in b."""
    return ((a - b).abs().max() / b.abs().max()).item()
