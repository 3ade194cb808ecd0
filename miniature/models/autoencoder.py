"""The VAE: AutoencoderKL as in FLUX.1 (8 pixels a latent cell), with 8 channels and few of them inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# ComfyUI's class makes 32 groups in every GroupNorm, so every width is a multiple of 32. It is then set to use 4: a
# group of a single channel would forget how bright an image is.
WIDTHS = (32, 32, 64, 96)
NORM_GROUPS = 4
RESIDUALS_A_LEVEL = 1
# FLUX.1 has 16. Half of that is learned by a small transformer in a fraction of the time, and faces lose nothing.
LATENT_CHANNELS = 8
PIXELS_A_CELL = 8

# The encoder's last layer standardizes every channel itself, so that a sampler sees latents as they are.
SCALE, SHIFT = 1.0, 0.0


def diffusers_autoencoder() -> AutoencoderKL:
    """diffusers' own class at this size, with fresh weights."""
    from diffusers import AutoencoderKL

    levels = len(WIDTHS)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=WIDTHS,
        layers_per_block=RESIDUALS_A_LEVEL,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=NORM_GROUPS,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
    )


def comfyui_parameters() -> dict[str, object]:
    """The same size in the words of ComfyUI's class."""
    return {
        "double_z": True,
        "z_channels": LATENT_CHANNELS,
        "resolution": 176,
        "in_channels": 3,
        "out_ch": 3,
        "ch": WIDTHS[0],
        "ch_mult": [width // WIDTHS[0] for width in WIDTHS],
        "num_res_blocks": RESIDUALS_A_LEVEL,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
