"""The base model of a training run: transformer, VAE and the scale of its latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

from ..losses.flow import LatentScale
from .flux import load_flux
from .quantize import Quantization
from .vae import load_vae

Precision = Literal["bf16", "fp16", "fp32", "fp8", "int8", "nf4"]
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
_QUANTIZATIONS: Mapping[Precision, Quantization] = {"fp8": "fp8", "int8": "int8", "nf4": "nf4"}
_PATCH = 4  # latent pixels a token


@dataclass(frozen=True, eq=False)
class Base:
    """Frozen models on the training device."""

    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    scale: LatentScale


def load_base(
    path: Path, vae: Path | None, precision: Precision, device: torch.device | str, blocks_to_swap: int = 0
) -> Base:
    """Loads both.

    path            a diffusers folder or a single .safetensors file of FLUX.1
    vae             the same of its VAE; None takes it from `path`
    precision       what weights are held in; fp8, int8 and nf4 quantize the blocks' matrices and compute in bf16
    blocks_to_swap  that many of the transformer's blocks stay in the CPU's memory (block swap)

    Raises FileNotFoundError, ValueError for files of another kind or that do not belong together, RuntimeError
    where the library that quantizes is missing.
    """
    # Quantized matrices are dequantized to bf16, and all else is held in it.
    dtype = _DTYPES.get(precision, torch.bfloat16)
    transformer = load_flux(path, dtype, device, _QUANTIZATIONS.get(precision), blocks_to_swap)
    vae_model, scale = load_vae(path if vae is None else vae, dtype, device)
    channels, expected = vae_model.config["latent_channels"], transformer.config["in_channels"] // _PATCH
    if channels != expected:
        raise ValueError(
            f"The VAE makes latents of {channels} channels and the transformer reads {expected}. Use FLUX.1's own VAE "
            "(ae.safetensors)."
        )
    return Base(transformer, vae_model, scale)
