"""The socket for diffusers' FLUX.1 and FLUX.2: hooks after every block, for training and for sampling without ComfyUI.

What a forward pass needs travels with the call, as an entry of diffusers' `joint_attention_kwargs`: a block that is
recomputed in the backward pass (gradient checkpointing) then finds the people it was computed with, also after the
next batch was placed.

Letters in tensor names: B batch, N image tokens, D the stream's width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..adapter.network import AdapterNetwork
from ..adapter.shape import Branch
from .placed_people import PlacedPeople
from .scene import Scene, make_scene

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel

    Transformer = FluxTransformer2DModel | Flux2Transformer2DModel

_ENTRY = "withanyone"  # and the socket's own number, so that two in one transformer do not take each other's people
_ATTENTION_OPTIONS = "joint_attention_kwargs"
_TEXT, _TEXT_POSITION = "encoder_hidden_states", 1  # in the arguments of the transformer

Arguments = tuple[Any, ...]
Options = dict[str, Any]
# Text [B, tokens, D] and image [B, N, D]; FLUX.2's single blocks give one tensor [B, tokens + N, D], text first.
Streams = tuple[Tensor, Tensor] | Tensor


@dataclass(frozen=True, eq=False)
class _Pass:
    """What the blocks of one forward pass need: the people, and how many text tokens come before the image's."""

    scene: Scene
    text_tokens: int


class AdapterSocket:
    """An adapter plugged into a transformer.

    Float32 parameters are cast to the transformer's type as autocast does. Raises ValueError where widths or numbers of
    blocks differ, or a branch that the adapter lacks has a weight.

    weights  output weight of each branch that works; all with weight 1 where nothing is said
    """

    def __init__(
        self,
        transformer: "Transformer",
        adapter: AdapterNetwork,
        weights: Mapping[Branch, float] | None = None,
    ) -> None:
        self.adapter = adapter
        weights = dict.fromkeys(adapter.shapes, 1.0) if weights is None else weights
        self.weights = {branch: weight for branch, weight in weights.items() if weight != 0}
        # It lies outside the blocks, so it is neither quantized nor swapped, and has the type of the activations.
        self.dtype = transformer.x_embedder.weight.dtype
        self._entry = f"{_ENTRY}_{id(self)}"
        self._placed: Scene | None = None
        # From a block's pre-hook to its hook: the forward hook sees no keyword arguments, and the pre-hook took the
        # entry out.
        self._passes: dict[int, _Pass | None] = {}
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
        self._placed = None if people is None else make_scene(self.adapter, self.weights, people, self.dtype)
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
                    f"model has width {width} and {layers} blocks. Use the base model it was trained for."
                )

    def _send(
        self, module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        if self._placed is None:
            return None
        text = args[_TEXT_POSITION] if len(args) > _TEXT_POSITION else kwargs[_TEXT]
        sent = _Pass(self._placed, text.shape[1])
        # A new dict: the caller may pass its own again, and must not find the entry in it.
        options = {**(kwargs.get(_ATTENTION_OPTIONS) or {}), self._entry: sent}
        return args, {**kwargs, _ATTENTION_OPTIONS: options}

    def _receiver(self, layer: int) -> Callable[..., tuple[Arguments, Options]]:
        def receive(module: nn.Module, args: Arguments, kwargs: Options) -> tuple[Arguments, Options]:
            """Takes the entry out again, since the attention inside warns of what it does not know."""
            # Checkpointing hands the options over by position, as the last argument.
            options = args[-1] if args else kwargs.get(_ATTENTION_OPTIONS)
            rest = dict(options or {})
            self._passes[layer] = rest.pop(self._entry, None)
            return ((*args[:-1], rest), kwargs) if args else (args, {**kwargs, _ATTENTION_OPTIONS: rest})

        return receive

    def _adder(self, layer: int) -> Callable[..., Streams | None]:
        def add(module: nn.Module, args: Arguments, output: Streams) -> Streams | None:
            # Popped: a scene holds keys and values of every layer and must not outlive its pass.
            sent = self._passes.pop(layer, None)
            if sent is None:
                return None
            if isinstance(output, Tensor):
                return sent.scene.added_to(output, layer, sent.text_tokens)
            text, image = output
            return text, sent.scene.added_to(image, layer)

        return add
