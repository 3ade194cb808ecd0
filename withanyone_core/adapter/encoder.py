"""The identity encoder: people to the keys and values of every layer, once, before sampling.

Letters in tensor names: N people, T tokens of one person, D the stream's width, L layers, H heads, C channels of a
head.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from .layers import Layers
from .projectors import ArcProjector, SigProjector
from .shape import BranchShape


class KeyValueLayer(nn.Module):
    """The part of one layer's attention that reads the people: normalization and projection to keys and values."""

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
        self.norm1 = operations.LayerNorm(shape.hidden, **placed)
        self.to_kv = operations.Linear(shape.hidden, 2 * shape.inner, bias=False, **placed)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """[N, T, D] to keys and values [N, 2, H, T, C]."""
        # The first half of to_kv's rows is K, the second V (released checkpoint).
        return rearrange(self.to_kv(self.norm1(tokens_NTD)), "n t (two h c) -> n two h t c", two=2, h=self.heads)


class IdentityEncoder(nn.Module):
    """Everything of one branch that depends on the people alone."""

    def __init__(
        self,
        shape: BranchShape,
        operations: Layers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        placed = {"operations": operations, "dtype": dtype, "device": device}
        self.shape = shape
        # Each branch has its own: the sig branch's ArcFace tokens do not come from the arc branch's projector.
        self.arcface_in = ArcProjector(shape.embedding, shape.hidden, shape.arc_tokens, **placed)
        self.siglip_in = SigProjector(shape.siglip_width, shape.hidden, **placed) if shape.siglip_width else None
        self.layers = nn.ModuleList(KeyValueLayer(shape, **placed) for _ in range(shape.layers))

    def tokens(self, arcface_ND: Tensor, siglip_NTD: Tensor | None = None) -> Tensor:
        """What the projectors make of each person [N, T, D]: SigLIP patches first (sig branch only), then ArcFace."""
        tokens = [self.arcface_in(arcface_ND)]
        if self.siglip_in is not None:
            # The released order; attention itself does not depend on it.
            tokens.insert(0, self.siglip_in(siglip_NTD))
        return torch.cat(tokens, dim=1)

    def forward(
        self,
        arcface_ND: Tensor,
        siglip_NTD: Tensor | None = None,
        learned_NTD: Tensor | None = None,
        has_learned_N: Tensor | None = None,
    ) -> Tensor:
        """Keys and values of every layer, [L, N, 2, H, T, C].

        learned_NTD    tokens in place of the projected ones
        has_learned_N  bool: whose they are; everybody's where it is None
        """
        if learned_NTD is None:
            tokens_NTD = self.tokens(arcface_ND, siglip_NTD)
        elif has_learned_N is None:
            tokens_NTD = learned_NTD
        else:
            projected_NTD = self.tokens(arcface_ND, siglip_NTD)
            tokens_NTD = torch.where(has_learned_N[:, None, None], learned_NTD, projected_NTD)
        # Nothing here depends on the noise, the step or the prompt: once for a person is enough.
        return torch.stack([layer(tokens_NTD) for layer in self.layers])
