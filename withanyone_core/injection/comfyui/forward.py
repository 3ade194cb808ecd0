"""One forward pass of the base model with people in it: what is added after each block.

torch.compile must not bake in what changes with a slider: recent ComfyUI drops the compiler's guards on
`transformer_options`, where the block replacements live, and earlier versions compile again for every new function
found there. So the replacements are always the same functions, which the compiler leaves alone, and what they do in a
call is looked up in that call's context. The blocks they call stay compiled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...adapter.stacked import StackedAttention
from .keys_values import DeviceKeysValues
from .region_tokens import RegionTokens

BlockKey = tuple[str, int]  # ("double_block" or "single_block", its index), as ComfyUI names replacements
DOUBLE, SINGLE = "double_block", "single_block"


class Forward:
    """What follows each of the base model's blocks in one call, and the text length it learns on the way.

    regions      the tokens that are served, by batch rows; none where nobody is active
    strength     a factor on all that is added at this step
    attention    the layers of all branches
    keys_values  everybody's in the type and on the device of a tensor, the branches' weights in them
    """

    def __init__(
        self,
        regions: Sequence[RegionTokens],
        strength: float,
        attention: StackedAttention,
        keys_values: Callable[[Tensor], DeviceKeysValues],
    ) -> None:
        self.regions = regions
        self.strength = strength
        self.attention = attention
        self.keys_values = keys_values
        self.inner: Mapping[BlockKey, Callable] = {}
        self._tokens: dict[tuple[RegionTokens, int], tuple[Tensor, Tensor]] = {}
        self.text_tokens = 0
        self.blocks_run = 0

    @contextmanager
    def after_blocks(self, options: Mapping[str, Any], diffusion_model: Any) -> Iterator[dict[str, Any]]:
        """A copy of `transformer_options` in which every block is followed by this adapter, for the call inside."""
        replacements = options.get("patches_replace", {})
        self.inner = replacements.get("dit", {})
        keys = [(DOUBLE, index) for index in range(len(diffusion_model.double_blocks))]
        keys += [(SINGLE, index) for index in range(len(diffusion_model.single_blocks))]
        # Several Apply nodes of one MODEL are nested: each finds itself by its place in the tuple.
        outer = _FORWARDS.get()
        blocks = {key: _replacement(key, layer, len(outer)) for layer, key in enumerate(keys)}
        token = _FORWARDS.set((*outer, self))
        try:
            # Ours take the places of others' replacements and call them (`inner`): ComfyUI knows one a block.
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
        """Adds the residual in place to the image tokens, which begin at token `first` of the stream."""
        for served in self.regions:
            # A slice of rows is a view, so that what is written to it below is in the stream.
            rows = stream_BND[served.rows]
            read, written = self._indices(served, first)
            tokens = rows.index_select(1, read)
            known = self.keys_values(stream_BND)
            keys_values = [known.of(group.people, layer) for group in served.groups]
            residual = self.attention[layer](tokens, served.sizes, keys_values)
            # Here and not in the values: those are made once a run, while a curve moves with each step.
            updated = torch.add(tokens, residual, alpha=self.strength)
            if updated.dtype == torch.float16:  # FLUX outgrows float16; ComfyUI clips its own stream the same way
                updated = torch.nan_to_num(updated, nan=0.0, posinf=65504, neginf=-65504)
            if served.kept is not None:
                updated = updated.index_select(1, served.kept)
            rows[:, written] = updated  # index_copy_ is missing, slow or wrong on Apple's GPUs

    def _indices(self, served: RegionTokens, first: int) -> tuple[Tensor, Tensor]:
        """The tokens of the stream that are read and those that are written, made once a step and not for each block.

        Double blocks have the image alone, single blocks have it behind the text.
        """
        known = self._tokens.get((served, first))
        if known is None:
            read = served.cells + first
            known = read, read if served.kept is None else read[served.kept]
            self._tokens[served, first] = known
        return known


_FORWARDS: ContextVar[tuple[Forward, ...]] = ContextVar("withanyone_forwards", default=())  # outermost Apply first


@cache
def _replacement(key: BlockKey, layer: int, depth: int) -> Callable:
    """The replacement of a block for the Apply at `depth` of a call; one function for all samplings."""

    def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        forward = _FORWARDS.get()[depth]
        inner = forward.inner.get(key)
        out = inner(args, extra) if inner else extra["original_block"](args)
        # torch gives what it decorates the type of a function, not of a method
        forward.after_block(key, layer, out)  # pyright: ignore[reportAttributeAccessIssue]
        return out

    # Not recursive: the block that is called inside may stay compiled.
    return torch.compiler.disable(block, recursive=False)
