"""Face embeddings and photo patches to tokens of the image stream's width.

Letters in tensor names: N people, T tokens of one person, D the stream's width (FLUX.1: 3072).
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from .layers import Layers


class ArcProjector(nn.Sequential):
    """One raw ArcFace embedding to a handful of tokens (8 in the released checkpoint)."""

    def __init__(
        self,
        embedding: int,
        hidden: int,
        tokens: int,
        operations: Layers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        placed = {"dtype": dtype, "device": device}
        super().__init__(
            operations.Linear(embedding, 4 * hidden, **placed),
            # The exact (erf) GELU as released, not the tanh form of FLUX's own blocks; the norm's eps is torch's 1e-5.
            nn.GELU(),
            operations.LayerNorm(4 * hidden, **placed),
            operations.Linear(4 * hidden, tokens * hidden, **placed),
        )
        self.tokens = tokens

    def forward(self, embedding_ND: Tensor) -> Tensor:
        """[N, 512] to [N, tokens, D]. Feed raw embeddings: the first activation makes their length matter."""
        # One matrix makes all tokens: token t is channels t * D to (t + 1) * D of its output.
        return rearrange(super().forward(embedding_ND), "n (t d) -> n t d", t=self.tokens)


class SigProjector(nn.Sequential):
    """SigLIP patch tokens to the stream's width, each on its own: [N, patches, 768] to [N, patches, D]."""

    def __init__(
        self,
        width: int,
        hidden: int,
        operations: Layers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        placed = {"dtype": dtype, "device": device}
        super().__init__(
            operations.Linear(width, hidden, **placed),
            nn.GELU(),
            operations.LayerNorm(hidden, **placed),
            operations.Linear(hidden, hidden, **placed),
        )
