"""The identity attention as it is trained: the only part of the adapter that runs at every step.

Sampling in ComfyUI runs all branches as one, `stacked.py`.

Letters in tensor names: B batch, S selected image tokens (those inside somebody's place), D the stream's width,
H heads, C channels of a head, T tokens of the people of a sample.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .layers import Layers
from .shape import BranchShape

_MPS_QUERIES = 9  # the fewest that do not take the faulty kernel


class AttentionLayer(nn.Module):
    """What the image tokens inside people's places take from those people after one block (released checkpoint)."""

    def __init__(
        self,
        shape: BranchShape,
        operations: Layers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        placed = {"dtype": dtype, "device": device}
        self.heads = shape.heads
        # Named as in the released checkpoint; its norm1 and to_kv, which read the people, are in encoder.py.
        self.norm2 = operations.LayerNorm(shape.hidden, **placed)
        # No bias in either projection: an image token that attends to nobody then gets exactly zero added.
        self.to_q = operations.Linear(shape.hidden, shape.inner, bias=False, **placed)
        self.to_out = operations.Linear(shape.inner, shape.hidden, bias=False, **placed)

    def per_sample(self, image_BSD: Tensor, keys_values_B2HTC: Tensor, seen_BST: Tensor) -> Tensor:
        """The un-weighted residual [B, S, D] where every sample has people and places of its own.

        seen_BST  bool [B, S, T or 1]: which of its sample's tokens an image token attends to; rows without any give
                  meaningless values, which the caller drops
        """
        # Heads are contiguous runs of channels, as released; there is neither a q/k norm nor a rotary embedding.
        queries = rearrange(self.to_q(self.norm2(image_BSD)), "b s (h c) -> b h s c", h=self.heads)
        keys, values = keys_values_B2HTC.unbind(1)
        # One mask for all heads, and the default scale 1 / sqrt(C), as released.
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen_BST[:, None])
        return self.to_out(rearrange(out, "b h s c -> b s (h c)"))


def attend(queries_BHSC: Tensor, keys_BHTC: Tensor, values_BHTC: Tensor, device: torch.device | None = None) -> Tensor:
    """Attention without a mask; `device` is the tensors' own where none is given.

    On Apple's GPUs several versions of torch compute it wrongly for queries that are not contiguous, and for eight or
    fewer of them (pytorch issues 163597, 169222 and 181133): there they are copied, and filled up.
    """
    device = device or queries_BHSC.device
    if device.type != "mps":
        return F.scaled_dot_product_attention(queries_BHSC, keys_BHTC, values_BHTC)
    count = queries_BHSC.shape[2]
    # Zeros behind the queries: a query's result does not depend on the others.
    filled = F.pad(queries_BHSC, (0, 0, 0, max(0, _MPS_QUERIES - count))).contiguous()
    return F.scaled_dot_product_attention(filled, keys_BHTC.contiguous(), values_BHTC.contiguous())[:, :, :count]


class IdentityAttention(nn.ModuleList):
    """One `AttentionLayer` for every block of the base model, double blocks first."""

    if TYPE_CHECKING:  # nn.ModuleList does not tell what it holds

        def __getitem__(self, idx: int) -> AttentionLayer: ...
        def __iter__(self) -> Iterator[AttentionLayer]: ...

    def __init__(
        self,
        shape: BranchShape,
        operations: Layers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        # The index is the checkpoint's: FLUX.1's 19 double blocks are layers 0 to 18, its 38 single blocks 19 to 56.
        super().__init__(AttentionLayer(shape, operations, dtype, device) for _ in range(shape.layers))
        self.shape = shape
