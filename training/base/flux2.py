"""FLUX.2 in training (docs/flux2.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from einops import rearrange
from torch import Tensor

from withanyone_core.base_models import flux2
from withanyone_core.schedule import base_sigmas

from .family import Family, Paths, Shapes, Text, TextEncoder, TextTensor, shared_arguments
from .flux2_keys import KEYS
from .qwen_text import QwenText
from .vae_keys import stage_widths

_AXES = 4  # of positions: time, row, column, text
_STATES, _MEAN, _VARIANCE = "states", "bn.running_mean", "bn.running_var"


@dataclass(frozen=True, eq=False)
class NormalizedLatents:
    """Between the VAE's latents and the transformer's, which join 2 x 2 of them: `(joined - mean) / deviation`.

    mean, deviation  float32 [4 C, 1, 1], of the joined channels
    """

    mean: Tensor
    deviation: Tensor

    def into_model(self, latent: Tensor) -> Tensor:
        joined = rearrange(latent, "... c (h ph) (w pw) -> ... (c ph pw) h w", ph=2, pw=2)
        return (joined - self.mean.to(latent.device)) / self.deviation.to(latent.device)

    def out_of_model(self, latent: Tensor) -> Tensor:
        joined = latent * self.deviation.to(latent.device) + self.mean.to(latent.device)
        return rearrange(joined, "... (c ph pw) h w -> ... c (h ph) (w pw)", ph=2, pw=2)


def image_positions(rows: int, columns: int) -> Tensor:
    """Positions of image tokens for the transformer, float32 [N, 4]: 0, row, column, 0."""
    grid = torch.zeros(rows, columns, _AXES)
    grid[..., 1] = torch.arange(rows)[:, None]
    grid[..., 2] = torch.arange(columns)[None, :]
    return grid.flatten(0, 1)


def text_positions(tokens: int) -> Tensor:
    """Positions of text tokens, float32 [tokens, 4]: 0, 0, 0, number of the token."""
    grid = torch.zeros(tokens, _AXES)
    grid[:, 3] = torch.arange(tokens)
    return grid


def _velocity(
    transformer: Flux2Transformer2DModel, noisy_BCHW: Tensor, sigmas_B: Tensor, text: Text, guidance: float
) -> Tensor:
    dtype, device = transformer.x_embedder.weight.dtype, noisy_BCHW.device
    rows, columns = noisy_BCHW.shape[-2:]
    timestep = sigmas_B.to(device, dtype)
    predicted = transformer(
        # A token is one place of the latent.
        hidden_states=rearrange(noisy_BCHW, "b c h w -> b (h w) c").to(dtype),
        encoder_hidden_states=text[_STATES].to(dtype),
        # diffusers multiplies timestep and guidance by 1000. klein has no guidance.
        timestep=timestep,
        guidance=torch.full_like(timestep, guidance) if transformer.config["guidance_embeds"] else None,
        img_ids=image_positions(rows, columns).to(device),
        txt_ids=text_positions(text[_STATES].shape[1]).to(device),
        return_dict=False,
    )[0]
    return rearrange(predicted.float(), "b (h w) c -> b c h w", h=rows, w=columns)


def _arguments(shapes: Shapes) -> dict[str, Any]:
    """How positions are spread over a head is in no tensor: evenly over the four coordinates."""
    shared = shared_arguments(shapes)
    head, width = shared["attention_head_dim"], shapes["x_embedder.weight"][0]
    return {
        **shared,
        "timestep_guidance_channels": shapes["time_guidance_embed.timestep_embedder.linear_1.weight"][1],
        "mlp_ratio": shapes["transformer_blocks.0.ff.linear_out.weight"][1] / width,
        "guidance_embeds": "time_guidance_embed.guidance_embedder.linear_1.weight" in shapes,
        "axes_dims_rope": (head // _AXES,) * _AXES,
    }


def _text_encoder(paths: Paths, dtype: torch.dtype, device: torch.device | str) -> TextEncoder:
    return QwenText(paths["qwen"], paths.get("qwen_tokenizer"), dtype, device)


def _vae_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The decoder may have fewer channels than the encoder."""
    # A decoder's stages are counted from the latent, those of the argument from the image.
    widths = stage_widths(tensors, "decoder.up_blocks")[::-1]
    return {} if widths == stage_widths(tensors, "encoder.down_blocks") else {"decoder_block_out_channels": widths}


def _latents(vae: AutoencoderKLFlux2, tensors: Mapping[str, Tensor]) -> NormalizedLatents:
    """From the file's own numbers, since the VAE may hold them in bf16."""
    mean, variance = (tensors[name].float()[:, None, None] for name in (_MEAN, _VARIANCE))
    return NormalizedLatents(mean, (variance + vae.config["batch_norm_eps"]).sqrt())


def _has_vae_keys(keys: Iterable[str]) -> bool:
    return _MEAN in set(keys)


FLUX_2 = Family(
    model=flux2.FLUX_2,
    transformer=Flux2Transformer2DModel,
    keys=KEYS,
    size_keys=(
        "x_embedder.weight",
        "proj_out.weight",
        "context_embedder.weight",
        "time_guidance_embed.timestep_embedder.linear_1.weight",
        "transformer_blocks.0.attn.norm_q.weight",
        "transformer_blocks.0.ff.linear_out.weight",
        "single_transformer_blocks.0.attn.to_out.weight",
    ),
    arguments=_arguments,
    velocity=_velocity,
    texts={_STATES: TextTensor("a text token", "joint_attention_dim")},
    text_settings=("qwen",),
    make_text_encoder=_text_encoder,
    sampling_sigmas=partial(base_sigmas, flux2.FLUX_2),
    latent_px=flux2.FLUX_2.token_px,
    vae=AutoencoderKLFlux2,
    vae_arguments=_vae_arguments,
    has_vae_keys=_has_vae_keys,
    latents=_latents,
    vae_file="flux2-vae.safetensors",
)
