"""FLUX.1 in training."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from einops import rearrange
from torch import Tensor

from withanyone_core.base_models import flux1
from withanyone_core.schedule import released_sigmas

from .family import Family, Paths, Shapes, Text, TextEncoder, TextTensor, shared_arguments
from .flux1_keys import KEYS
from .text import FluxText

# How a head's 128 channels are spread over the three coordinates; no tensor shows it.
_AXES = (16, 56, 56)
_T5, _POOLED = "t5", "pooled"


@dataclass(frozen=True)
class LatentScale:
    """Between the VAE's latents and the transformer's: `scale * (latent - shift)`. FLUX.1: 0.3611 and 0.1159."""

    scale: float = 0.3611
    shift: float = 0.1159

    def into_model(self, latent: Tensor) -> Tensor:
        return self.scale * (latent - self.shift)

    def out_of_model(self, latent: Tensor) -> Tensor:
        return latent / self.scale + self.shift


def pack(latent_BCHW: Tensor) -> Tensor:
    """Image tokens [B, N, D] of 2 x 2 latent pixels, row by row."""
    # Channel-major within a token (c, row, column), as FLUX.1 packs its latents.
    return rearrange(latent_BCHW, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)


def unpack(tokens_BND: Tensor, rows: int, columns: int) -> Tensor:
    """Latents [B, C, 2 rows, 2 columns] of image tokens."""
    return rearrange(tokens_BND, "b (h w) (c ph pw) -> b c (h ph) (w pw)", h=rows, w=columns, ph=2, pw=2)


def image_positions(rows: int, columns: int) -> Tensor:
    """Positions of image tokens for the transformer, float32 [N, 3]: 0, row, column."""
    # The first number is 0 for the generated image; Kontext's reference images have others.
    grid = torch.zeros(rows, columns, 3)
    grid[..., 1] = torch.arange(rows)[:, None]
    grid[..., 2] = torch.arange(columns)[None, :]
    return grid.flatten(0, 1)


def _velocity(
    transformer: FluxTransformer2DModel, noisy_BCHW: Tensor, sigmas_B: Tensor, text: Text, guidance: float
) -> Tensor:
    dtype, device = transformer.x_embedder.weight.dtype, noisy_BCHW.device
    rows, columns = (side // 2 for side in noisy_BCHW.shape[-2:])
    timestep = sigmas_B.to(device, dtype)  # the released program rounds them too
    predicted = transformer(
        hidden_states=pack(noisy_BCHW).to(dtype),
        encoder_hidden_states=text[_T5].to(dtype),
        pooled_projections=text[_POOLED].to(dtype),
        # diffusers multiplies timestep and guidance by 1000.
        timestep=timestep,
        guidance=torch.full_like(timestep, guidance) if transformer.config["guidance_embeds"] else None,
        img_ids=image_positions(rows, columns).to(device),
        # All text stands at position 0, 0, 0.
        txt_ids=torch.zeros(text[_T5].shape[1], 3, device=device),
        return_dict=False,
    )[0]
    return unpack(predicted.float(), rows, columns)


def _arguments(shapes: Shapes) -> dict[str, Any]:
    """How positions are spread over a head is in no tensor: FLUX.1's 16/56/56 for heads of 128 channels, a quarter and
    twice three eighths for others (the miniature).
    """
    shared = shared_arguments(shapes)
    head = shared["attention_head_dim"]
    return {
        **shared,
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
        "axes_dims_rope": _AXES if head == sum(_AXES) else (head // 4, head * 3 // 8, head * 3 // 8),
    }


def _text_encoder(paths: Paths, dtype: torch.dtype, device: torch.device | str) -> TextEncoder:
    tokenizers = paths.get("t5_tokenizer"), paths.get("clip_tokenizer")
    return FluxText(paths["t5"], paths["clip"], *tokenizers, dtype, device)


def _latents(vae: AutoencoderKL, tensors: Mapping[str, Tensor]) -> LatentScale:
    # Older VAEs in diffusers have a scale and no shift.
    return LatentScale(vae.config["scaling_factor"], vae.config["shift_factor"] or 0.0)


def _has_vae_keys(keys: Iterable[str]) -> bool:
    keys = set(keys)
    return "decoder.conv_in.weight" in keys and "bn.running_mean" not in keys


FLUX_1 = Family(
    model=flux1.FLUX_1,
    transformer=FluxTransformer2DModel,
    keys=KEYS,
    size_keys=(
        "x_embedder.weight",
        "proj_out.weight",
        "context_embedder.weight",
        "time_text_embed.text_embedder.linear_1.weight",
        "transformer_blocks.0.attn.norm_q.weight",
        "single_transformer_blocks.0.proj_out.weight",
    ),
    arguments=_arguments,
    velocity=_velocity,
    texts={
        _T5: TextTensor("a T5 token", "joint_attention_dim"),
        _POOLED: TextTensor("a pooled CLIP embedding", "pooled_projection_dim"),
    },
    text_settings=("t5", "clip"),
    make_text_encoder=_text_encoder,
    # As a ComfyUI workflow with WithAnyone Scheduler takes them.
    sampling_sigmas=released_sigmas,
    latent_px=flux1.FLUX_1.vae_px,
    vae=AutoencoderKL,
    # No tensor shows them.
    vae_arguments=lambda tensors: {"scaling_factor": LatentScale().scale, "shift_factor": LatentScale().shift},
    has_vae_keys=_has_vae_keys,
    latents=_latents,
    vae_file="ae.safetensors",
)
