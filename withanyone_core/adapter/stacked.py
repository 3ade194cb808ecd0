"""The identity attention of all branches as one, the way it runs at a sampling step.

A step has 57 blocks, and what the adapter costs there is less its arithmetic than its many small operations: each is a
call of Python and a launch on the device. So the norms' weights and biases are folded into the query projections, which
then read one normalized stream as one matrix, and the output projections stand side by side, so that one product adds
up the branches. Files and training keep the layers apart.

Letters in tensor names: B batch, S selected image tokens (those inside somebody's place), D the stream's width,
R runs of a group, H heads, C channels of a head, T tokens of the people of a run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend
from .layers import LinearLayers
from .lora import LowRank
from .shape import HEAD_DIM, BranchShape

BranchKeysValues = Sequence[tuple[Tensor, Tensor]]  # of each branch, keys and values [R, H, T, C]


@dataclass(frozen=True, eq=False)
class Norm:
    """Weight and bias [D] of the norm that was folded into a query projection."""

    weight: Tensor
    bias: Tensor


class StackedAttentionLayer(nn.Module):
    """`AttentionLayer` of every branch after one block of the base model.

    norms  what was folded into each branch's query projection, for updates that come later; no part of the state
    """

    def __init__(
        self,
        shapes: Sequence[BranchShape],
        operations: LinearLayers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        placed = {"dtype": dtype, "device": device}
        self.norms: tuple[Norm, ...] = ()
        # The norm has no parameters of its own: each branch's are folded into its rows of to_q (`fold_layer`).
        self.normalized = (shapes[0].hidden,)
        inner = sum(shape.inner for shape in shapes)
        # With a bias, unlike the trained layer: that is where the norms' biases go.
        self.to_q = operations.Linear(shapes[0].hidden, inner, **placed)
        # Without a bias, as trained: whoever takes nothing gets exactly zero.
        self.to_out = operations.Linear(inner, shapes[0].hidden, bias=False, **placed)

    def forward(self, image_BSD: Tensor, sizes: Sequence[int], keys_values: Sequence[BranchKeysValues]) -> Tensor:
        """The residual [B, S, D] of all branches; their weights and the people's are in the values.

        The S tokens come in groups of `sizes` tokens. A group is R equally long runs, the first of which attends to the
        first of the group's keys and values, and so on. A run holds the tokens covered by one set of people, so no
        attention mask is needed and none is used.
        """
        # eps is the default 1e-5, that of the layer norms it stands for.
        queries = self.to_q(F.layer_norm(image_BSD, self.normalized))
        # One group needs neither the split nor the copy of cat, and this runs after every block.
        if len(sizes) == 1:
            return self.to_out(self._attended(queries, keys_values[0]))
        groups = zip(queries.split(sizes, 1), keys_values, strict=True)
        return self.to_out(torch.cat([self._attended(group, known) for group, known in groups], 1))

    def _attended(self, queries_BSD: Tensor, keys_values: BranchKeysValues) -> Tensor:
        """What a group's tokens take, the branches' heads side by side, [B, S, D of all branches]."""
        batch, size, width = queries_BSD.shape
        runs = keys_values[0][0].shape[0]
        if batch > 1:  # keys and values are the same for the whole batch, so the batch joins the sequence of queries
            queries_BSD = queries_BSD.view(batch, runs, -1, width).transpose(0, 1).reshape(1, -1, width)
        queries_RHSC = queries_BSD.view(runs, -1, width // HEAD_DIM, HEAD_DIM).transpose(1, 2)
        taken, first = [], 0
        for keys_RHTC, values_RHTC in keys_values:
            heads = keys_RHTC.shape[1]
            # Rows of to_q, and so heads of the queries, lie in the order of keys_values; the slice is a view.
            out_RHSC = attend(queries_RHSC.narrow(1, first, heads), keys_RHTC, values_RHTC)
            taken.append(out_RHSC.transpose(1, 2))
            first += heads
        joined = torch.cat(taken, 2)
        # Back to batch-major, as the caller gathered the tokens.
        if batch > 1:
            joined = joined.view(runs, batch, -1, width).transpose(0, 1).contiguous()
        return joined.view(batch, size, width)


class StackedAttention(nn.ModuleList):
    """One `StackedAttentionLayer` for every block of the base model, double blocks first."""

    if TYPE_CHECKING:  # nn.ModuleList does not tell what it holds

        def __getitem__(self, idx: int) -> StackedAttentionLayer: ...
        def __iter__(self) -> Iterator[StackedAttentionLayer]: ...

    def __init__(
        self,
        shapes: Sequence[BranchShape],
        operations: LinearLayers = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        layers = range(shapes[0].layers)
        super().__init__(StackedAttentionLayer(shapes, operations, dtype, device) for _ in layers)


def fold(branches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """State of `StackedAttention` from the state of each branch's `IdentityAttention`."""
    return {
        f"{number}.{name}": tensor
        for number, layer in enumerate(by_layers(branches))
        for name, tensor in fold_layer(layer).items()
    }


def fold_layer(branches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """State of `StackedAttentionLayer` from the state of each branch's `AttentionLayer`.

    Folded in float32, kept in the type of the matrices.
    """
    queries = [layer["to_q.weight"] for layer in branches]
    # With n the normalized token, W (g * n + b) = (W diag(g)) n + W b: g scales W's columns, W b is the bias.
    weights = [query.float() * layer["norm2.weight"].float() for query, layer in zip(queries, branches, strict=True)]
    biases = [query.float() @ layer["norm2.bias"].float() for query, layer in zip(queries, branches, strict=True)]
    return {
        "to_q.weight": torch.cat(weights).to(queries[0].dtype),
        "to_q.bias": torch.cat(biases).to(queries[0].dtype),
        # Columns, in the order of the rows of to_q above: the one product then sums the branches' outputs.
        "to_out.weight": torch.cat([layer["to_out.weight"] for layer in branches], dim=1),
    }


def fold_update(update: LowRank, norm: Norm) -> tuple[LowRank, Tensor]:
    """What an update of a branch's query projection is for the folded matrix, and for its bias [inner]."""
    down, up = update.down.float(), update.up.float()
    # (up down) diag(g) = up (down diag(g)): the update stays low-rank, and only its down factor changes.
    return LowRank(down * norm.weight.float(), up), up @ (down @ norm.bias.float())


def norms_of(branches: Sequence[Mapping[str, Tensor]]) -> tuple[Norm, ...]:
    """Each branch's, from the state of its `AttentionLayer`; with memory of their own."""
    return tuple(Norm(layer["norm2.weight"].clone(), layer["norm2.bias"].clone()) for layer in branches)


def by_layers(branches: Sequence[Mapping[str, Tensor]]) -> list[list[dict[str, Tensor]]]:
    """The state of each branch's `IdentityAttention` as those of its layers, layers first."""
    layers = sum(name.endswith("to_q.weight") for name in branches[0])
    split = [[{} for _ in branches] for _ in range(layers)]
    for number, branch in enumerate(branches):
        for name, tensor in branch.items():
            layer, rest = name.split(".", 1)
            split[int(layer)][number][rest] = tensor
    return split
