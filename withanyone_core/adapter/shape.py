"""The sizes of an adapter branch, and the two kinds of branch."""

from dataclasses import dataclass
from enum import Enum

# Fixed in the released network; FLUX's own heads have 128 channels.
HEAD_DIM = 64


class Branch(str, Enum):
    """`arc` says who a person is (ArcFace tokens), `sig` how the photo looks (SigLIP patches and ArcFace tokens)."""

    ARC = "arc"
    SIG = "sig"


@dataclass(frozen=True)
class BranchShape:
    """Sizes of one branch, read off its tensors.

    hidden        width of the image stream (3072 for FLUX.1)
    heads         attention heads of 64 channels each (24)
    layers        one attention for every block of the base model, double blocks first (57)
    arc_tokens    tokens made from an ArcFace embedding (8)
    embedding     length of the ArcFace embedding (512)
    siglip_width  width of the SigLIP tokens (768), None in an arc branch
    """

    hidden: int
    heads: int
    layers: int
    arc_tokens: int
    embedding: int
    siglip_width: int | None = None

    @property
    def inner(self) -> int:
        """Width inside the attention."""
        return self.heads * HEAD_DIM

    @property
    def branch(self) -> Branch:
        return Branch.ARC if self.siglip_width is None else Branch.SIG
