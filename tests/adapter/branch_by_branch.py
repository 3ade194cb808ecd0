"""The identity attention branch by branch and run by run, as it is written down: what the stacked one is measured by.

A layer is anything with `norm2`, `to_q` and `to_out`: `AttentionLayer`, in torch's or ComfyUI's layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...withanyone_core.adapter.shape import HEAD_DIM


@dataclass(frozen=True)
class Runs:
    """Cells covered by the same people.

    cells   int64, in runs of `counts`
    people  for each run, the people its cells attend to
    """

    cells: Tensor
    counts: tuple[int, ...]
    people: tuple[tuple[int, ...], ...]


def residual(layer: nn.Module, image_BSD: Tensor, counts: Sequence[int], keys_values: Sequence[Tensor]) -> Tensor:
    """One branch's, un-weighted [B, S, D]: the first `counts[0]` tokens attend to `keys_values[0]` [2, H, T, C]."""
    batch = image_BSD.shape[0]
    runs = layer.to_q(layer.norm2(image_BSD)).split(list(counts), dim=1)
    attended = []
    for run, (keys_HTC, values_HTC) in zip(runs, keys_values, strict=True):
        queries = rearrange(run, "b s (h c) -> 1 h (b s) c", c=HEAD_DIM)
        out = F.scaled_dot_product_attention(queries, keys_HTC[None], values_HTC[None])
        attended.append(rearrange(out, "1 h (b s) c -> b s (h c)", b=batch))
    return layer.to_out(torch.cat(attended, dim=1))


def add_people(
    stream_BND: Tensor,
    runs: Runs,
    first: int,
    layers: Mapping[str, nn.Module],
    weights: Mapping[str, float],
    keys_values: Mapping[str, Sequence[Tensor]],
) -> None:
    """Adds every branch's residual in place to the image tokens, which begin at token `first` of the stream.

    keys_values  of each branch, every person's [2, H, T, C] at this layer
    """
    index = runs.cells + first
    tokens = stream_BND.index_select(1, index)
    updated = tokens
    for branch, weight in weights.items():
        known = [
            keys_values[branch][people[0]]
            if len(people) == 1
            else torch.cat([keys_values[branch][person] for person in people], dim=2)
            for people in runs.people
        ]
        updated = updated + weight * residual(layers[branch], tokens, runs.counts, known)
    stream_BND[:, index] = updated
