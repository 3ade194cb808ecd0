"""The base model: the Flux class of diffusers and of ComfyUI, with FLUX.1-dev's guidance input, at small size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .autoencoder import LATENT_CHANNELS

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

WIDTH = 192
HEADS = 3
# Positions (unused index, row, column) share a head's 64 channels as 16/56/56 share FLUX.1's 128: few for the first.
AXES = (16, 24, 24)
DOUBLE_BLOCKS, SINGLE_BLOCKS = 1, 5
TEXT_WIDTH = POOLED_WIDTH = 128
CELL_LATENTS = 2


def diffusers_flux() -> FluxTransformer2DModel:
    """diffusers' own class at this size, with fresh weights."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=LATENT_CHANNELS * CELL_LATENTS**2,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=AXES,
    )


def comfyui_parameters() -> dict[str, object]:
    """The same size in the words of ComfyUI's class."""
    return {
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "vec_in_dim": POOLED_WIDTH,
        "context_in_dim": TEXT_WIDTH,
        "hidden_size": WIDTH,
        "mlp_ratio": 4.0,
        "num_heads": HEADS,
        "depth": DOUBLE_BLOCKS,
        "depth_single_blocks": SINGLE_BLOCKS,
        "axes_dim": list(AXES),
        "theta": 10000,
        "patch_size": CELL_LATENTS,
        "qkv_bias": True,
        "guidance_embed": True,
        "txt_ids_dims": [],
    }
