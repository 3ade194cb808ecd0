"""The base model of a training run: transformer, VAE and the scale of its latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from .family import Latents, Transformer, Vae
from .quantize import Quantization
from .registry import family_of_module
from .transformer import load_transformer
from .vae import load_vae

Precision = Literal["bf16", "fp16", "fp32", "fp8", "int8", "nf4"]
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
_QUANTIZATIONS: Mapping[Precision, Quantization] = {"fp8": "fp8", "int8": "int8", "nf4": "nf4"}


@dataclass(frozen=True, eq=False)
class Base:
    """Frozen models on the training device."""

    transformer: Transformer
    vae: Vae
    scale: Latents


def load_base(
    path: Path, vae: Path | None, precision: Precision, device: torch.device | str, blocks_to_swap: int = 0
) -> Base:
    """Loads both.

    path            a diffusers folder or a single .safetensors file of a base model
    vae             the same of its VAE; None takes it from `path`
    precision       what weights are held in; fp8, int8 and nf4 quantize the blocks' matrices and compute in bf16
    blocks_to_swap  that many of the transformer's blocks stay in the CPU's memory (block swap)

    Raises FileNotFoundError, ValueError for files of another kind or that do not belong together, RuntimeError
    where the library that quantizes is missing.
    """
    # Quantized matrices are dequantized to bf16, and all else is held in it.
    dtype = _DTYPES.get(precision, torch.bfloat16)
    transformer = load_transformer(path, dtype, device, _QUANTIZATIONS.get(precision), blocks_to_swap)
    vae_model, scale = load_vae(path if vae is None else vae, dtype, device)
    _check_pair(transformer, vae_model)
    return Base(transformer, vae_model, scale)


def _check_pair(transformer: Transformer, vae: Vae) -> None:
    """ValueError where the transformer reads other latents than the VAE makes."""
    family = family_of_module(transformer)
    places = (family.model.token_px // family.model.vae_px) ** 2  # of the VAE's latent a token
    channels, expected = vae.config["latent_channels"], transformer.config["in_channels"] // places
    if channels != expected or not isinstance(vae, family.vae):
        raise ValueError(
            f"The VAE makes latents of {channels} channels and the transformer reads {expected}. Use {family.label}'s "
            f"own VAE ({family.vae_file})."
        )
