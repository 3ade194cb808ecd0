"""The adapter as the released program runs it, written out plainly to be measured against.

Every image token is normalized, projected and attended under a boolean mask for every head, in both branches whatever
their weight, and every person's keys and values are projected again at each step.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from withanyone_pack.withanyone_core.adapter.attention import AttentionLayer
from withanyone_pack.withanyone_core.adapter.encoder import KeyValueLayer


@dataclass(frozen=True)
class DenseBranch:
    """One branch at one layer. `tokens` [1, people * T, D]; `mask` bool [1, heads, image tokens, people * T]."""

    key_values: KeyValueLayer
    attention: AttentionLayer
    tokens: Tensor
    mask: Tensor

    def __call__(self, image_BND: Tensor) -> Tensor:
        layer = self.attention
        queries = rearrange(layer.to_q(layer.norm2(image_BND)), "b n (h c) -> b h n c", h=layer.heads)
        keys, values = self.key_values(self.tokens).unbind(1)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.mask)
        # Rows without any permitted key: zero here whatever the attention kernel makes of them.
        attended = attended * self.mask.any(-1, keepdim=True)
        return layer.to_out(rearrange(attended, "b h n c -> b n (h c)"))


def update_joint_stream(stream_BND: Tensor, text_tokens: int, branches: dict[DenseBranch, float]) -> Tensor:
    """The stream [text, image] split, updated and joined again."""
    text, image = stream_BND[:, :text_tokens], stream_BND[:, text_tokens:]
    for_image = [weight * branch(image) for branch, weight in branches.items()]
    return torch.cat([text, image + sum(for_image)], dim=1)
