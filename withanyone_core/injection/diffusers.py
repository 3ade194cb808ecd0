"""The socket for diffusers' FLUX.1: hooks after every block, for training and for sampling without ComfyUI.

What a forward pass needs travels with the call, as an entry of diffusers' `joint_attention_kwargs`: a block that is
recomputed in the backward pass (gradient checkpointing) then finds the people it was computed with, also after the
next batch was placed.

Letters in tensor names: B batch, P people of the sample with most, N image tokens, S tokens selected for a sample,
D the stream's width, T tokens of one person, L layers, H heads, C channels of a head.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from einops import rearrange
from torch import Tensor, nn

from ..adapter.network import AdapterNetwork
from ..adapter.shape import Branch
from ..canvas import CELL_PX
from ..regions.cells import Grid, region_cells
from ..regions.layout import Region

_ENTRY = "withanyone"  # and the socket's own number, so that two in one transformer do not take each other's people
_ATTENTION_OPTIONS = "joint_attention_kwargs"

Arguments = tuple[Any, ...]
Options = dict[str, Any]
Streams = tuple[Tensor, Tensor]  # text [B, tokens, D], image [B, N, D]


@dataclass(frozen=True, eq=False)
class LearnedRows:
    """Tokens of one branch learned for some of the people of a batch, in place of what the projectors make of them.

    tokens_KTD  float [K, T, D], for each of K people as many as the projectors make
    rows_BP     int64 [B, P]: which of the K a person is; -1 for people without
    """

    tokens_KTD: Tensor
    rows_BP: Tensor

    def to(self, device: torch.device | str) -> "LearnedRows":
        return LearnedRows(self.tokens_KTD.to(device), self.rows_BP.to(device))


@dataclass(frozen=True, eq=False)
class PlacedPeople:
    """The people of a batch and the image tokens they are seen by.

    arcface_BPE  raw ArcFace embeddings, float [B, P, 512]; rows of samples with fewer people are padding
    members_BPN  bool [B, P, N]: whose tokens an image token attends to; a person without any (padding, or dropped on
                 purpose) is nowhere
    siglip_BPTW  SigLIP tokens, float [B, P, patches, width]; None where no branch reads them
    learned      of the branches in which somebody's tokens were learned
    """

    arcface_BPE: Tensor
    members_BPN: Tensor
    siglip_BPTW: Tensor | None = None
    learned: Mapping[Branch, LearnedRows] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "PlacedPeople":
        siglip = None if self.siglip_BPTW is None else self.siglip_BPTW.to(device)
        learned = {branch: rows.to(device) for branch, rows in self.learned.items()}
        return PlacedPeople(self.arcface_BPE.to(device), self.members_BPN.to(device), siglip, learned)


@dataclass(frozen=True, eq=False)
class _Scene:
    """What the blocks of one forward pass add.

    cells_BS     int64: the selected image tokens of each sample, all different; padded with tokens in nobody's place
    covered_BS1  bool, false for that padding
    seen         of each branch, bool [B, S, P * T]
    keys_values  of each branch, [L, B, 2, H, P * T, C]
    """

    cells_BS: Tensor
    covered_BS1: Tensor
    seen: Mapping[Branch, Tensor]
    keys_values: Mapping[Branch, Tensor]
    weights: Mapping[Branch, float]


class AdapterSocket:
    """An adapter plugged into a transformer.

    Float32 parameters are cast to the transformer's type as autocast does. Raises ValueError where widths or numbers of
    blocks differ, or a branch that the adapter lacks has a weight.

    weights  output weight of each branch that works; all with weight 1 where nothing is said
    """

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        adapter: AdapterNetwork,
        weights: Mapping[Branch, float] | None = None,
    ) -> None:
        self.adapter = adapter
        weights = dict.fromkeys(adapter.shapes, 1.0) if weights is None else weights
        self.weights = {branch: weight for branch, weight in weights.items() if weight != 0}
        # It lies outside the blocks, so it is neither quantized nor swapped, and has the type of the activations.
        self.dtype = transformer.x_embedder.weight.dtype
        self._entry = f"{_ENTRY}_{id(self)}"
        self._placed: _Scene | None = None
        # From a block's pre-hook to its hook: the forward hook sees no keyword arguments, and the pre-hook took the
        # entry out.
        self._scenes: dict[int, _Scene | None] = {}
        # In the order of the checkpoint's layers, double blocks first.
        blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
        self._width, self._layers = transformer.inner_dim, len(blocks)
        self._check(self._width, self._layers)
        # Hooks, so that diffusers' classes stay as they are and the adapter can be taken out again.
        self._handles = [transformer.register_forward_pre_hook(self._send, with_kwargs=True)]
        for layer, block in enumerate(blocks):
            self._handles += [
                block.register_forward_pre_hook(self._receiver(layer), with_kwargs=True),
                block.register_forward_hook(self._adder(layer)),
            ]

    @contextmanager
    def placed(self, people: PlacedPeople | None) -> Iterator[None]:
        """Every forward pass inside shows these people; keys and values are made here, once, with gradients.

        The backward pass may come later. None: the base model alone.
        """
        self._placed = None if people is None else self._scene(people)
        try:
            yield
        finally:
            self._placed = None

    @contextmanager
    def using(self, adapter: AdapterNetwork, weights: Mapping[Branch, float]) -> Iterator[None]:
        """Inside, people are placed by another adapter for the same model, with these weights of its branches.

        Raises ValueError as the socket itself does.
        """
        before = self.adapter, self.weights
        self.adapter, self.weights = adapter, {branch: weight for branch, weight in weights.items() if weight != 0}
        try:
            self._check(self._width, self._layers)
            yield
        finally:
            self.adapter, self.weights = before

    def remove(self) -> None:
        """Unplugs the adapter."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _check(self, width: int, layers: int) -> None:
        for branch in self.weights:
            if branch not in self.adapter.shapes:
                raise ValueError(f"The adapter has no {branch.value} branch to give a weight.")
        for shape in self.adapter.shapes.values():
            if (shape.hidden, shape.layers) != (width, layers):
                raise ValueError(
                    f"This adapter was made for a model of width {shape.hidden} with {shape.layers} blocks; the base "
                    f"model has width {width} and {layers} blocks. Use the FLUX.1 it was trained for."
                )

    def _scene(self, people: PlacedPeople) -> _Scene:
        cells_BS, covered_BS1 = _selected(people.members_BPN.any(1))
        rows = rearrange(people.members_BPN, "b p n -> b n p").gather(
            1, cells_BS[..., None].expand(-1, -1, people.members_BPN.shape[1])
        )
        seen, keys_values = {}, {}
        for branch in self.weights:
            keys_values[branch] = self._keys_values(branch, people)
            # The dimension is P * T, so this is the branch's T: 8 for arc, 264 for sig in the released checkpoint.
            tokens = keys_values[branch].shape[-2] // rows.shape[-1]
            # Padding rows see everything: a softmax over nothing is NaN in older torch, and so is its gradient.
            seen[branch] = (rows | ~covered_BS1).repeat_interleave(tokens, dim=2)
        return _Scene(cells_BS, covered_BS1, seen, keys_values, dict(self.weights))

    def _keys_values(self, branch: Branch, people: PlacedPeople) -> Tensor:
        """[L, B, 2, H, P * T, C]; only people who are somewhere are encoded."""
        encoder = self.adapter[branch].encoder
        present_BP = people.members_BPN.any(2)
        if not present_BP.any():
            # A batch in which everybody was dropped must still reach the adapter's parameters, with zero gradients.
            present_BP = torch.zeros_like(present_BP).index_fill(1, torch.tensor([0], device=present_BP.device), True)
        inputs = [people.arcface_BPE, people.siglip_BPTW if branch is Branch.SIG else None]
        # Boolean indexing flattens [B, P] to the N people who are present, samples first.
        chosen = [None if value is None else value[present_BP].to(self.dtype) for value in inputs]
        learned = self._learned(people, branch, present_BP)
        if branch is Branch.SIG and people.siglip_BPTW is None and (not learned or learned[1] is not None):
            raise ValueError(
                "The sig branch reads SigLIP tokens, and these people have none. Prepare the photos with a SigLIP "
                "tower, or use the arc branch alone."
            )
        with _computed_in(encoder, self.dtype, present_BP.device):
            # [L, N, 2, H, T, C], N the people who are present.
            made = encoder(*chosen, *learned).to(self.dtype)
        # One person of zeros at the end, whom `slots` below gives to every absent one: one gather fills [B, P].
        padded = torch.cat([made, torch.zeros_like(made[:, :1])], dim=1)
        last = made.shape[1]
        # The running count of present people is their row in `made`, since both flatten [B, P] alike.
        slots = torch.where(present_BP, present_BP.flatten().cumsum(0).view_as(present_BP) - 1, last)
        return rearrange(padded[:, slots], "l b p two h t c -> l b two h (p t) c")

    def _learned(
        self, people: PlacedPeople, branch: Branch, present_BP: Tensor
    ) -> tuple[()] | tuple[Tensor, Tensor | None]:
        """What the encoder takes for the people who are there: learned tokens, and whose they are (None: all)."""
        if branch not in people.learned:
            return ()
        learned = people.learned[branch]
        rows_N = learned.rows_BP[present_BP]
        # Tokens of somebody who is not there stay part of the graph, with gradients of zero.
        # Row 0 stands in for people without any (-1); the mask below drops it.
        tokens_NTD = learned.tokens_KTD.to(self.dtype)[rows_N.clamp(min=0)]
        return tokens_NTD, None if (rows_N >= 0).all() else rows_N >= 0

    def _send(
        self, module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        if self._placed is None:
            return None
        # A new dict: the caller may pass its own again, and must not find the entry in it.
        options = {**(kwargs.get(_ATTENTION_OPTIONS) or {}), self._entry: self._placed}
        return args, {**kwargs, _ATTENTION_OPTIONS: options}

    def _receiver(self, layer: int) -> Callable[..., tuple[Arguments, Options]]:
        def receive(module: nn.Module, args: Arguments, kwargs: Options) -> tuple[Arguments, Options]:
            """Takes the entry out again, since the attention inside warns of what it does not know."""
            # Checkpointing hands the options over by position, as the last argument.
            options = args[-1] if args else kwargs.get(_ATTENTION_OPTIONS)
            rest = dict(options or {})
            self._scenes[layer] = rest.pop(self._entry, None)
            return ((*args[:-1], rest), kwargs) if args else (args, {**kwargs, _ATTENTION_OPTIONS: rest})

        return receive

    def _adder(self, layer: int) -> Callable[..., Streams | None]:
        def add(module: nn.Module, args: Arguments, output: Streams) -> Streams | None:
            # Popped: a scene holds keys and values of every layer and must not outlive its pass.
            scene = self._scenes.pop(layer, None)
            if scene is None:
                return None
            text, image = output
            return text, self._updated(scene, layer, image)

        return add

    def _updated(self, scene: _Scene, layer: int, stream_BND: Tensor) -> Tensor:
        """The stream with every branch's residual on the tokens in somebody's place; all others as they were."""
        index = scene.cells_BS[..., None].expand(-1, -1, stream_BND.shape[-1])
        # Gathered and not masked: the cost follows the covered area, and all other tokens stay what they were.
        tokens = stream_BND.gather(1, index)
        residual = torch.zeros_like(tokens)
        for branch, weight in scene.weights.items():
            attention = self.adapter[branch].attention[layer]
            with _computed_in(attention, tokens.dtype, tokens.device):
                taken = attention.per_sample(tokens, scene.keys_values[branch][layer], scene.seen[branch])
            residual = residual + weight * taken.to(tokens.dtype)
        # Out of place: autograd may need the block's output. Padding rows are finite (see `_scene`), so that they add
        # zero.
        return stream_BND.scatter_add(1, index, residual * scene.covered_BS1)


def members(
    regions: Sequence[Sequence[Region | None]], width_px: int, height_px: int, truncate_upper: bool = False
) -> Tensor:
    """Which image tokens each person's place covers, bool [B, P, N], for a batch of images of one size.

    One sequence of places a sample, None for a person who is nowhere; P is the longest of them, at least 1.
    `truncate_upper` is `AdapterFile.truncates_boxes`.
    """
    grid = Grid(width_px // CELL_PX, height_px // CELL_PX, width_px, height_px)
    people = max([1, *map(len, regions)])
    found = torch.zeros(len(regions), people, grid.rows * grid.columns, dtype=torch.bool)
    for sample, places in enumerate(regions):
        for person, region in enumerate(places):
            if region is not None:
                found[sample, person] = region_cells(region, grid, truncate_upper)
    return found


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
