"""The base model of a training run: transformer, VAE and the scale of its latents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from ..losses.flow import LatentScale
from .files import fingerprint, model_folder
from .flux import load_flux
from .vae import load_vae

Precision = Literal["bf16", "fp16", "fp32", "fp8"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": torch.bfloat16}
_PATCH = 4  # latent pixels a token


@dataclass(frozen=True, eq=False)
class Base:
    """Frozen models on the training device."""

    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    scale: LatentScale


def load_base(path: Path, vae: Path | None, precision: Precision, device: torch.device | str) -> Base:
    """Loads both.

    path       a diffusers folder or a single .safetensors file of FLUX.1
    vae        the same of its VAE; None takes it from `path`
    precision  what weights are held in; fp8 holds the blocks' matrices in 8 bits and computes in bf16

    Raises FileNotFoundError, or ValueError in words for files of another kind or that do not belong together.
    """
    dtype = _DTYPES[precision]
    transformer = load_flux(path, dtype, device, fp8=precision == "fp8")
    coder, scale = load_vae(path if vae is None else vae, dtype, device)
    channels, expected = coder.config.latent_channels, transformer.config.in_channels // _PATCH
    if channels != expected:
        raise ValueError(
            f"The VAE makes latents of {channels} channels and the transformer reads {expected}. Use FLUX.1's own VAE "
            "(ae.safetensors)."
        )
    return Base(transformer, coder, scale)


def base_fingerprint(path: Path) -> str:
    """SHA-256 over the transformer's files."""
    return fingerprint(model_folder(path, "transformer"))
