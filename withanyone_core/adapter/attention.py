"""The identity attention: the only part of the adapter that runs at every sampling step.

Letters in tensor names: B batch, S selected image tokens (those inside somebody's place), D the stream's width,
H heads, C channels of a head, T tokens of the people of a sample.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .shape import BranchShape

_MPS_QUERIES = 9  # the fewest that do not take the faulty kernel


class AttentionLayer(nn.Module):
    """What the image tokens inside people's places take from those people after one block (released checkpoint)."""

    def __init__(
        self,
        shape: BranchShape,
        operations: ModuleType = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        placed = {"dtype": dtype, "device": device}
        self.heads = shape.heads
        self.norm2 = operations.LayerNorm(shape.hidden, **placed)
        self.to_q = operations.Linear(shape.hidden, shape.inner, bias=False, **placed)
        self.to_out = operations.Linear(shape.inner, shape.hidden, bias=False, **placed)

    def forward(self, image_BSD: Tensor, counts: Sequence[int], keys_values: Sequence[Tensor]) -> Tensor:
        """The un-weighted residual [B, S, D].

        The S tokens come in runs: the first `counts[0]` attend to `keys_values[0]` [2, H, T, C], and so on. A run holds
        the tokens covered by one set of people, so no attention mask is needed and none is used.
        """
        batch = image_BSD.shape[0]
        # Keys and values are the same for the whole batch, so the batch joins the sequence of queries.
        runs = self.to_q(self.norm2(image_BSD)).split(list(counts), dim=1)
        attended = []
        for run, (keys_HTC, values_HTC) in zip(runs, keys_values, strict=True):
            queries = rearrange(run, "b s (h c) -> 1 h (b s) c", h=self.heads)
            out = attend(queries, keys_HTC[None], values_HTC[None])
            attended.append(rearrange(out, "1 h (b s) c -> b s (h c)", b=batch))
        return self.to_out(torch.cat(attended, dim=1))

    def per_sample(self, image_BSD: Tensor, keys_values_B2HTC: Tensor, seen_BST: Tensor) -> Tensor:
        """The un-weighted residual [B, S, D] where every sample has people and places of its own.

        seen_BST  bool [B, S, T or 1]: which of its sample's tokens an image token attends to; rows without any give
                  meaningless values, which the caller drops
        """
        queries = rearrange(self.to_q(self.norm2(image_BSD)), "b s (h c) -> b h s c", h=self.heads)
        keys, values = keys_values_B2HTC.unbind(1)
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen_BST[:, None])
        return self.to_out(rearrange(out, "b h s c -> b s (h c)"))


def attend(queries_1HSC: Tensor, keys_1HTC: Tensor, values_1HTC: Tensor, device: torch.device | None = None) -> Tensor:
    """Attention without a mask; `device` is the tensors' own where none is given.

    On Apple's GPUs several versions of torch compute it wrongly for queries that are not contiguous, and for eight or
    fewer of them (pytorch issues 163597, 169222 and 181133): there they are copied, and filled up.
    """
    device = device or queries_1HSC.device
    if device.type != "mps":
        return F.scaled_dot_product_attention(queries_1HSC, keys_1HTC, values_1HTC)
    count = queries_1HSC.shape[2]
    filled = F.pad(queries_1HSC, (0, 0, 0, max(0, _MPS_QUERIES - count))).contiguous()
    return F.scaled_dot_product_attention(filled, keys_1HTC.contiguous(), values_1HTC.contiguous())[:, :, :count]


class IdentityAttention(nn.ModuleList):
    """One `AttentionLayer` for every block of the base model, double blocks first."""

    def __init__(
        self,
        shape: BranchShape,
        operations: ModuleType = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(AttentionLayer(shape, operations, dtype, device) for _ in range(shape.layers))
        self.shape = shape
