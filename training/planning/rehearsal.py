"""A pass of the real training loop on models and images without data: what it allocates and how much it computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket

from ..configuration.finetune import Finetune
from ..loop.step import FrozenModels, compute_loss
from .counting import LiveBytes, Operations
from .hollow import Answers, Hollow, HollowAdapter, Load

GRADIENTS = "gradients of what is trained"
BLOCKS, ADAPTER, DECODER, RECOGNIZER = "base model's blocks", "adapter's layers", "VAE decoder", "recognizer"


@dataclass(frozen=True, eq=False)
class Cast:
    """Everybody who takes part in a rehearsal, of one `Hollow`.

    weights  output weight of each branch
    """

    hollow: Hollow
    frozen: FrozenModels
    adapter: HollowAdapter
    weights: Mapping[Branch, float]


@dataclass(frozen=True)
class Rehearsed:
    """What a pass takes.

    peak     most bytes alive at once beside weights and optimizer, gradients of what is trained among them
    by_part  of them, by who made them
    flops    floating-point operations of linear layers, convolutions and attention, recomputed ones too
    """

    peak: int
    by_part: Mapping[str, int]
    flops: int


def rehearsed(cast: Cast, load: Load, settings: Finetune) -> Rehearsed:
    """One pass forward and back as the loop runs it. With several passes a step, gradients lie there from the first."""
    transformer = cast.frozen.transformer
    if settings.memory.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    else:
        transformer.disable_gradient_checkpointing()
    socket = AdapterSocket(transformer, cast.adapter.network, cast.weights)
    batch, bank = cast.hollow.batch(load, cast.adapter.learned), cast.hollow.bank(load)
    counted = LiveBytes()
    operations = Operations()
    try:
        with counted, counted.parts(_parts(cast)), operations, Answers():
            _prepare_gradients(cast.adapter.trained, counted, settings.optim.gradient_accumulation_steps > 1)
            passed = compute_loss(batch, cast.frozen, socket, bank, settings)
            (passed.loss / settings.optim.gradient_accumulation_steps).backward()
    finally:
        socket.remove()
        for parameter in cast.adapter.trained:
            parameter.grad = None
    return Rehearsed(counted.peak, counted.at_peak, operations.total)


def _prepare_gradients(trained: Sequence[nn.Parameter], counted: LiveBytes, are_there: bool) -> None:
    with counted.part(GRADIENTS):
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter) if are_there else None


def _parts(cast: Cast) -> dict[nn.Module, str]:
    transformer, found = cast.frozen.transformer, {}
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        found[block] = BLOCKS
    for branch in cast.adapter.network.branches.values():
        found[branch.encoder] = ADAPTER
        # Of these only the layers are called as modules.
        found |= dict.fromkeys((layer for each in branch.attention for layer in each.children()), ADAPTER)
    found |= dict.fromkeys(
        (module for module in cast.frozen.vae.decoder.modules() if not list(module.children())), DECODER
    )
    if isinstance(cast.frozen.recognizer, nn.Module):
        found[cast.frozen.recognizer] = RECOGNIZER
    return found
