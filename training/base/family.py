"""What is peculiar to a family of base models in training: the twin of the core's `base_models`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from torch import Tensor

from withanyone_core.base_models.base_model import BaseModel

from .key_table import KeyTable

Transformer = FluxTransformer2DModel | Flux2Transformer2DModel
Vae = AutoencoderKL | AutoencoderKLFlux2
Shapes = Mapping[str, tuple[int, ...]]
# What the transformer reads of texts: tensors by the names that the cache has for them, of one text or of a batch.
Text = Mapping[str, Tensor]
Paths = Mapping[str, Path]


class Latents(Protocol):
    """Between the VAE's latents and the transformer's, [..., C, H, W] each."""

    def into_model(self, latent: Tensor) -> Tensor: ...

    def out_of_model(self, latent: Tensor) -> Tensor: ...


class TextEncoder(Protocol):
    """A text to the tensors that the transformer reads, float32 by name; `release` gives its memory back.

    names        of the tensors
    fingerprint  changes with the models' files
    """

    names: tuple[str, ...]
    fingerprint: str

    def encode(self, text: str) -> Text: ...

    def release(self) -> None: ...


@dataclass(frozen=True)
class TextTensor:
    """A tensor of a text: what one of its numbers is of, and the argument of the transformer that says how many."""

    numbers_of: str
    width: str


@dataclass(frozen=True, eq=False)
class Family:
    """A family of base models.

    model            the core's facts of it
    transformer      diffusers' class
    keys             names of its tensors in files and in that class
    size_keys        of tensors that sizes are read from, in diffusers' names
    arguments        of the class, from shapes under diffusers' names
    velocity         the predicted velocity, float32 [B, C, H, W], of a transformer, a noisy latent [B, C, H, W], sigmas
                     [B] from 0 (clean) to 1 (noise), a batch of texts, and the guidance
    texts            the tensors of a text, by name
    text_settings    names of the settings that hold its text encoders' paths; NAME_tokenizer is that of a tokenizer
    make_text_encoder  from such paths by those names, on a device once it is used
    sampling_sigmas  that its sampler steps through: for steps, width and height in pixels, float32 [steps + 1]
    latent_px        side of the square of pixels that one place of the transformer's latent covers
    vae              diffusers' class
    vae_arguments    of that class beside those that all have, from tensors under diffusers' names
    has_vae_keys     whether tensors of these names, without any prefix, are such a VAE
    latents          of a VAE, whose file's tensors are given by name
    vae_file         what users call its file
    """

    model: BaseModel
    transformer: type[Transformer]
    keys: KeyTable
    size_keys: tuple[str, ...]
    arguments: Callable[[Shapes], dict[str, Any]]
    velocity: Callable[[Any, Tensor, Tensor, Text, float], Tensor]
    texts: Mapping[str, TextTensor]
    text_settings: tuple[str, ...]
    make_text_encoder: Callable[[Paths, torch.dtype, torch.device | str], TextEncoder]
    sampling_sigmas: Callable[[int, int, int], Tensor]
    latent_px: int
    vae: type[Vae]
    vae_arguments: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    has_vae_keys: Callable[[Iterable[str]], bool]
    latents: Callable[[Any, Mapping[str, Tensor]], Latents]
    vae_file: str

    def latent_shape(self, vae_channels: int, width_px: int, height_px: int) -> tuple[int, int, int]:
        """Of the transformer's latent [C, H, W], which may join several places of the VAE's."""
        joined = (self.latent_px // self.model.vae_px) ** 2
        return vae_channels * joined, height_px // self.latent_px, width_px // self.latent_px

    def open_text_encoder(self, paths: Paths, dtype: torch.dtype, device: torch.device | str) -> TextEncoder:
        """The text encoder from paths by the names of settings; others are left alone.

        Raises ValueError where a path is not named, FileNotFoundError or ValueError for what it holds.
        """
        missing = [name for name in self.text_settings if name not in paths]
        if missing:
            raise ValueError(
                f"The VAE is {self.label}'s, whose texts are read by {' and '.join(self.text_settings)}; not named: "
                f"{', '.join(missing)}."
            )
        return self.make_text_encoder(paths, dtype, device)

    @property
    def label(self) -> str:
        """As its users call it."""
        return self.model.label


@dataclass(frozen=True, eq=False)
class Architecture:
    """A transformer without its weights: the family, and the arguments of its class."""

    family: Family
    arguments: Mapping[str, Any]

    def make(self) -> Transformer:
        return self.family.transformer(**self.arguments)


def shared_arguments(shapes: Shapes) -> dict[str, Any]:
    """Those of a class's arguments that every family has, read off shapes under diffusers' names."""
    width, channels = shapes["x_embedder.weight"]
    head = shapes["transformer_blocks.0.attn.norm_q.weight"][0]
    return {
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_layers": _counted("transformer_blocks", shapes),
        "num_single_layers": _counted("single_transformer_blocks", shapes),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
    }


def _counted(blocks: str, shapes: Shapes) -> int:
    """The number of blocks whose tensors begin with `blocks`."""
    return 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith(f"{blocks}."))
