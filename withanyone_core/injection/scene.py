"""What the blocks of one forward pass add to the image tokens: the people of a batch, encoded once.

Letters in tensor names: B batch, P people of the sample with most, N image tokens, S tokens selected for a sample,
D the stream's width, T tokens of one person, L layers, H heads, C channels of a head.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ..adapter.network import AdapterNetwork
from ..adapter.shape import Branch
from .placed_people import PlacedPeople


@dataclass(frozen=True, eq=False)
class Scene:
    """People in their places, ready for every block.

    adapter      whose attention reads the keys and values
    cells_BS     int64: the selected image tokens of each sample, all different; padded with tokens in nobody's place
    covered_BS1  bool, false for that padding
    seen         of each branch, bool [B, S, P * T]
    keys_values  of each branch, [L, B, 2, H, P * T, C]
    weights      output weight of each branch that works
    """

    adapter: AdapterNetwork
    cells_BS: Tensor
    covered_BS1: Tensor
    seen: Mapping[Branch, Tensor]
    keys_values: Mapping[Branch, Tensor]
    weights: Mapping[Branch, float]

    def added_to(self, stream_BND: Tensor, layer: int, first: int = 0) -> Tensor:
        """The stream with every branch's residual on the tokens in somebody's place; all others as they were.

        first  index in the stream of the first image token: the number of text tokens where they come before it
        """
        index = (self.cells_BS + first)[..., None].expand(-1, -1, stream_BND.shape[-1])
        # Gathered and not masked: the cost follows the covered area, and all other tokens stay what they were.
        tokens = stream_BND.gather(1, index)
        residual = torch.zeros_like(tokens)
        for branch, weight in self.weights.items():
            attention = self.adapter[branch].attention[layer]
            with _computed_in(attention, tokens.dtype, tokens.device):
                taken = attention.per_sample(tokens, self.keys_values[branch][layer], self.seen[branch])
            residual = residual + weight * taken.to(tokens.dtype)
        # Out of place: autograd may need the block's output. Padding rows are finite (see `make_scene`), so that they
        # add zero.
        return stream_BND.scatter_add(1, index, residual * self.covered_BS1)


def make_scene(
    adapter: AdapterNetwork, weights: Mapping[Branch, float], people: PlacedPeople, dtype: torch.dtype
) -> Scene:
    """Encodes the people, with gradients.

    weights  output weight of each branch that works
    dtype    of the base model's activations

    Raises ValueError where a branch reads SigLIP tokens and the people have none.
    """
    cells_BS, covered_BS1 = _selected(people.members_BPN.any(1))
    rows = rearrange(people.members_BPN, "b p n -> b n p").gather(
        1, cells_BS[..., None].expand(-1, -1, people.members_BPN.shape[1])
    )
    seen, keys_values = {}, {}
    for branch in weights:
        keys_values[branch] = _keys_values(adapter, branch, people, dtype)
        # The dimension is P * T, so this is the branch's T: 8 for arc, 264 for sig in the released checkpoint.
        tokens = keys_values[branch].shape[-2] // rows.shape[-1]
        # Padding rows see everything: a softmax over nothing is NaN in older torch, and so is its gradient.
        seen[branch] = (rows | ~covered_BS1).repeat_interleave(tokens, dim=2)
    return Scene(adapter, cells_BS, covered_BS1, seen, keys_values, dict(weights))


def _keys_values(adapter: AdapterNetwork, branch: Branch, people: PlacedPeople, dtype: torch.dtype) -> Tensor:
    """[L, B, 2, H, P * T, C]; only people who are somewhere are encoded."""
    encoder = adapter[branch].encoder
    present_BP = people.members_BPN.any(2)
    if not present_BP.any():
        # A batch in which everybody was dropped must still reach the adapter's parameters, with zero gradients.
        present_BP = torch.zeros_like(present_BP).index_fill(1, torch.tensor([0], device=present_BP.device), True)
    inputs = [people.arcface_BPE, people.siglip_BPTW if branch is Branch.SIG else None]
    # Boolean indexing flattens [B, P] to the N people who are present, samples first.
    chosen = [None if value is None else value[present_BP].to(dtype) for value in inputs]
    learned = _learned(people, branch, present_BP, dtype)
    if branch is Branch.SIG and people.siglip_BPTW is None and (not learned or learned[1] is not None):
        raise ValueError(
            "The sig branch reads SigLIP tokens, and these people have none. Prepare the photos with a SigLIP "
            "tower, or use the arc branch alone."
        )
    with _computed_in(encoder, dtype, present_BP.device):
        # [L, N, 2, H, T, C], N the people who are present.
        made = encoder(*chosen, *learned).to(dtype)
    # One person of zeros at the end, whom `slots` below gives to every absent one: one gather fills [B, P].
    padded = torch.cat([made, torch.zeros_like(made[:, :1])], dim=1)
    last = made.shape[1]
    # The running count of present people is their row in `made`, since both flatten [B, P] alike.
    slots = torch.where(present_BP, present_BP.flatten().cumsum(0).view_as(present_BP) - 1, last)
    return rearrange(padded[:, slots], "l b p two h t c -> l b two h (p t) c")


def _learned(
    people: PlacedPeople, branch: Branch, present_BP: Tensor, dtype: torch.dtype
) -> tuple[()] | tuple[Tensor, Tensor | None]:
    """What the encoder takes for the people who are there: learned tokens, and whose they are (None: all)."""
    if branch not in people.learned:
        return ()
    learned = people.learned[branch]
    rows_N = learned.rows_BP[present_BP]
    # Tokens of somebody who is not there stay part of the graph, with gradients of zero.
    # Row 0 stands in for people without any (-1); the mask below drops it.
    tokens_NTD = learned.tokens_KTD.to(dtype)[rows_N.clamp(min=0)]
    return tokens_NTD, None if (rows_N >= 0).all() else rows_N >= 0


def _selected(covered_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Indices [B, S] with every sample's covered tokens first, and which they are [B, S, 1]; S is at least 1."""
    size = max(1, int(covered_BN.sum(1).max()))
    # Sorting gives every token once, which scatter_add relies on; stable keeps them in the order of the image.
    order = covered_BN.int().argsort(dim=1, descending=True, stable=True)[:, :size]
    return order, covered_BN.gather(1, order)[..., None]


@contextmanager
def _computed_in(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Lets float32 master weights, all or some, work on activations of another type."""
    if all(parameter.dtype == dtype for parameter in module.parameters()):
        yield
        return
    with torch.autocast(device.type, dtype):
        yield
