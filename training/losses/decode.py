"""VAE decoding with gradient checkpointing: every residual block of the decoder is recomputed in the backward pass.

Exact: the blocks and their order are diffusers' own. Cutting the latent into crops or tiles would not be, since group
normalization and the attention in the middle see the whole image.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..base.family import Latents, Vae


def decoded(vae: Vae, latent_BCHW: Tensor, scale: Latents) -> Tensor:
    """RGB pixels [B, 3, height, width] of the transformer's latents, float32, 0 to 255 and not clamped."""
    values = scale.out_of_model(latent_BCHW).to(vae.dtype)
    for block in _blocks(vae):
        values = checkpoint(block, values, use_reentrant=False) if torch.is_grad_enabled() else block(values)
    # Clamping is left to `warp.clamped`, which lets gradients through.
    return 127.5 * (values.float() + 1)


def _blocks(vae: Vae) -> Iterator[Callable[[Tensor], Tensor]]:
    """The decoder in pieces that are recomputed one at a time."""
    decoder = vae.decoder
    if vae.post_quant_conv is not None:
        yield vae.post_quant_conv
    yield decoder.conv_in
    # diffusers' parts are any module to a type checker.
    middle: Any = decoder.mid_block
    ups: Any = decoder.up_blocks
    yield from _residual(middle.resnets[:1])
    for attention, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
        if attention is not None:
            yield attention
        yield from _residual([resnet])
    for block in ups:
        yield from _residual(block.resnets)
        yield from block.upsamplers or ()
    yield lambda values: decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(values)))


def _residual(resnets: torch.nn.ModuleList | list[torch.nn.Module]) -> Iterator[Callable[[Tensor], Tensor]]:
    for resnet in resnets:
        # `resnet` is bound by the default, since the loop has moved when the backward pass calls this again. None
        # stands for the time embedding, which a VAE has not.
        yield lambda values, resnet=resnet: resnet(values, None)
