"""One call of the frozen base model: what it predicts for noisy latents, a text and the people it is shown."""

import torch
from torch import Tensor, nn

from ..losses.flow import image_positions, pack, unpack


def velocity(
    transformer: nn.Module, noisy_BCHW: Tensor, sigmas_B: Tensor, t5_BTD: Tensor, pooled_BD: Tensor, guidance: float
) -> Tensor:
    """The predicted velocity, float32 [B, C, H, W], at noise levels from 0 (clean) to 1 (noise).

    Who is shown is set on the socket around this call.
    """
    dtype, device = transformer.x_embedder.weight.dtype, noisy_BCHW.device
    rows, columns = (side // 2 for side in noisy_BCHW.shape[-2:])
    levels = sigmas_B.to(device, dtype)  # the released program rounds them too
    predicted = transformer(
        hidden_states=pack(noisy_BCHW).to(dtype),
        encoder_hidden_states=t5_BTD.to(dtype),
        pooled_projections=pooled_BD.to(dtype),
        timestep=levels,
        guidance=torch.full_like(levels, guidance) if transformer.config.guidance_embeds else None,
        img_ids=image_positions(rows, columns).to(device),
        txt_ids=torch.zeros(t5_BTD.shape[1], 3, device=device),
        return_dict=False,
    )[0]
    return unpack(predicted.float(), rows, columns)
