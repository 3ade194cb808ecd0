"""One call of the frozen base model: what it predicts for noisy latents, a text and the people it is shown.

Letters in tensor names: B batch, C latent channels, H and W latent rows and columns (8 pixels each), N image tokens.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

PATCH = 2  # an image token is 2 x 2 latent pixels


def packed(latent_BCHW: Tensor) -> Tensor:
    """Latents to image tokens [B, N, 4 C], row by row."""
    return rearrange(latent_BCHW, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=PATCH, pw=PATCH)


def unpacked(tokens_BND: Tensor, height: int) -> Tensor:
    """Image tokens of latents `height` rows high to latents [B, C, H, W]."""
    return rearrange(tokens_BND, "b (h w) (c ph pw) -> b c (h ph) (w pw)", h=height // PATCH, ph=PATCH, pw=PATCH)


def image_positions(height: int, width: int, device: torch.device) -> Tensor:
    """(0, row, column) of each image token, float32 [N, 3], for latents of that size."""
    rows, columns = torch.meshgrid(torch.arange(height // PATCH), torch.arange(width // PATCH), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float().to(device)


def velocity(
    transformer: nn.Module, latent_BCHW: Tensor, t_B: Tensor, t5_BTD: Tensor, pooled_BD: Tensor, guidance: float
) -> Tensor:
    """The predicted velocity, float32 [B, C, H, W], at noise levels t from 0 (clean) to 1 (noise).

    Who is shown is set on the socket around this call.
    """
    dtype, device = transformer.x_embedder.weight.dtype, latent_BCHW.device
    height, width = latent_BCHW.shape[-2:]
    predicted = transformer(
        hidden_states=packed(latent_BCHW).to(dtype),
        encoder_hidden_states=t5_BTD.to(dtype),
        pooled_projections=pooled_BD.to(dtype),
        timestep=t_B.to(dtype),
        guidance=torch.full_like(t_B, guidance, dtype=dtype) if transformer.config.guidance_embeds else None,
        img_ids=image_positions(height, width, device),
        txt_ids=torch.zeros(t5_BTD.shape[1], 3, device=device),
        return_dict=False,
    )[0]
    return unpacked(predicted.float(), height)
