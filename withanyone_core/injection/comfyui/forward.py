"""One forward pass of the base model with people in it: what is added after each block.

torch.compile must not bake in what changes with a slider: recent ComfyUI drops the compiler's guards on
`transformer_options`, where the block replacements live, and earlier versions compile anew for every new function found
there. So the replacements are always the same functions, which the compiler leaves alone, and what they do in a call is
looked up in that call's context. The blocks they call stay compiled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ...adapter.shape import Branch

BlockKey = tuple[str, int]  # ("double_block" or "single_block", its index), as ComfyUI names replacements
DOUBLE, SINGLE = "double_block", "single_block"


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
    """What follows each of the base model's blocks in one call, and the text length it learns on the way.

    passes       which tokens are served together; none where nobody is active
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
        self.inner: Mapping[BlockKey, Callable] = {}
        self.text_tokens = 0
        self.blocks_run = 0

    @contextmanager
    def after_blocks(self, options: Mapping[str, Any], diffusion_model: Any) -> Iterator[dict[str, Any]]:
        """A copy of `transformer_options` in which every block is followed by this adapter, for the call inside."""
        replacements = options.get("patches_replace", {})
        self.inner = replacements.get("dit", {})
        keys = [(DOUBLE, index) for index in range(len(diffusion_model.double_blocks))]
        keys += [(SINGLE, index) for index in range(len(diffusion_model.single_blocks))]
        outer = _FORWARDS.get()
        blocks = {key: _replacement(key, layer, len(outer)) for layer, key in enumerate(keys)}
        token = _FORWARDS.set((*outer, self))
        try:
            yield {**options, "patches_replace": {**replacements, "dit": {**self.inner, **blocks}}}
        finally:
            _FORWARDS.reset(token)

    @torch.compiler.disable
    def after_block(self, key: BlockKey, layer: int, out: dict[str, Any]) -> None:
        self.blocks_run += 1
        first = self.text_tokens
        if key[0] == DOUBLE:
            # Other nodes may lengthen the text after the prompt was encoded; the block's own output is the truth.
            self.text_tokens, first = out["txt"].shape[1], 0
        self.add_people(out["img"], layer, first)

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
            rows[:, index] = updated  # index_copy_ is missing, slow or wrong on Apple's GPUs

    def _runs(self, branch: Branch, layer: int, step: Pass, like: Tensor) -> list[Tensor]:
        """Keys and values for each run of cells, [2, heads, tokens of all its people, 64]."""
        of_person = self.keys_values(branch, like)
        return [
            of_person[people[0]][layer]
            if len(people) == 1
            else torch.cat([of_person[person][layer] for person in people], dim=2)
            for people in step.people
        ]


_FORWARDS: ContextVar[tuple[Forward, ...]] = ContextVar("withanyone_forwards", default=())  # outermost Apply first


@cache
def _replacement(key: BlockKey, layer: int, depth: int) -> Callable:
    """The replacement of a block for the Apply at `depth` of a call; one function for all samplings."""

    def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        forward = _FORWARDS.get()[depth]
        inner = forward.inner.get(key)
        out = inner(args, extra) if inner else extra["original_block"](args)
        forward.after_block(key, layer, out)
        return out

    return torch.compiler.disable(block, recursive=False)
