"""One forward pass of the base model with people in it: what is added after each block."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...adapter.shape import Branch


@dataclass(frozen=True)
class Pass:
    """One gather, attend, put back: the batch rows, the cells inside somebody's place, and what they attend to.

    cells   int64 [S] on the stream's device, in runs of `counts`
    people  for each run, the people its cells attend to
    """

    rows: slice
    cells: Tensor
    counts: tuple[int, ...]
    people: tuple[tuple[int, ...], ...]


class Forward:
    """Replacements for the base model's blocks, and the text length they learn on the way.

    passes       which tokens are served together
    weights      output weight of each branch at this step
    attentions   each branch's attention layers
    keys_values  of a branch: every person's [layers, 2, heads, tokens, 64] in the type and on the device of a tensor
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        weights: Mapping[Branch, float],
        attentions: Mapping[Branch, nn.ModuleList],
        keys_values: Callable[[Branch, Tensor], Sequence[Tensor]],
    ) -> None:
        self.passes = passes
        self.weights = weights
        self.attentions = attentions
        self.keys_values = keys_values
        self.text_tokens = 0

    def options(self, options: Mapping[str, Any], diffusion_model: Any) -> dict[str, Any]:
        """A copy of `transformer_options` in which every block is followed by this adapter."""
        replacements = options.get("patches_replace", {})
        blocks = dict(replacements.get("dit", {}))
        doubles = len(diffusion_model.double_blocks)
        for index in range(doubles):
            blocks["double_block", index] = self._after_double(index, blocks.get(("double_block", index)))
        for index in range(len(diffusion_model.single_blocks)):
            blocks["single_block", index] = self._after_single(doubles + index, blocks.get(("single_block", index)))
        return {**options, "patches_replace": {**replacements, "dit": blocks}}

    def _after_double(self, layer: int, inner: Callable | None) -> Callable:
        def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            out = inner(args, extra) if inner else extra["original_block"](args)
            # Other nodes may lengthen the text after the prompt was encoded; the block's own output is the truth.
            self.text_tokens = out["txt"].shape[1]
            self.add_people(out["img"], layer, 0)
            return out

        return block

    def _after_single(self, layer: int, inner: Callable | None) -> Callable:
        def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            out = inner(args, extra) if inner else extra["original_block"](args)
            self.add_people(out["img"], layer, self.text_tokens)
            return out

        return block

    def add_people(self, stream_BND: Tensor, layer: int, first: int) -> None:
        """Adds every branch's residual in place to the image tokens, which begin at token `first` of the stream."""
        for step in self.passes:
            rows = stream_BND[step.rows]
            index = step.cells + first
            tokens = rows.index_select(1, index)
            updated = tokens
            for branch, weight in self.weights.items():
                keys_values = self._runs(branch, layer, step, stream_BND)
                updated = updated + weight * self.attentions[branch][layer](tokens, step.counts, keys_values)
            if updated.dtype == torch.float16:  # FLUX outgrows float16; ComfyUI clips its own stream the same way
                updated = torch.nan_to_num(updated, nan=0.0, posinf=65504, neginf=-65504)
            rows.index_copy_(1, index, updated)

    def _runs(self, branch: Branch, layer: int, step: Pass, like: Tensor) -> list[Tensor]:
        """Keys and values for each run of cells, [2, heads, tokens of all its people, 64]."""
        of_person = self.keys_values(branch, like)
        return [
            of_person[people[0]][layer]
            if len(people) == 1
            else torch.cat([of_person[person][layer] for person in people], dim=2)
            for people in step.people
        ]
