"""Dry run: a pass of the real training loop on dummy models and fake tensors, for its memory and its operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket

from ..base.block_swap import blocks_of
from ..configuration.finetune import Finetune
from ..loop.step import FrozenModels, compute_loss
from .counting import LiveBytes, Operations
from .fake_tensors import AssumeOnes, BatchShape, DummyAdapter, FakeTensors

GRADIENTS = "gradients of what is trained"
BLOCKS, ADAPTER, DECODER, RECOGNIZER = "base model's blocks", "adapter's layers", "VAE decoder", "recognizer"


@dataclass(frozen=True, eq=False)
class DummyModels:
    """The models of a dry run, all made by one `FakeTensors`.

    weights  output weight of each branch
    other    the branch that is not trained and works in validation, None without one
    """

    fakes: FakeTensors
    frozen: FrozenModels
    adapter: DummyAdapter
    weights: Mapping[Branch, float]
    other: AdapterNetwork | None = None


@dataclass(frozen=True)
class DryRun:
    """What a pass takes.

    peak     most bytes alive at once beside weights and optimizer, gradients of what is trained among them
    by_part  of them, by who made them
    flops    floating-point operations of linear layers, convolutions and attention, recomputed ones too
    """

    peak: int
    by_part: Mapping[str, int]
    flops: int


def dry_run(models: DummyModels, shape: BatchShape, settings: Finetune) -> DryRun:
    """One pass forward and back as the loop runs it. With several passes a step, gradients lie there from the first."""
    transformer = models.frozen.transformer
    if settings.memory.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    else:
        transformer.disable_gradient_checkpointing()
    socket = AdapterSocket(transformer, models.adapter.network, models.weights)
    batch, bank = models.fakes.batch(shape, models.adapter.learned), models.fakes.bank(shape)
    counted = LiveBytes()
    operations = Operations()
    try:
        with counted, counted.parts(_parts(models)), operations, AssumeOnes():
            _prepare_gradients(models.adapter.trained, counted, settings.optim.gradient_accumulation_steps > 1)
            passed = compute_loss(batch, models.frozen, socket, bank, settings)
            (passed.loss / settings.optim.gradient_accumulation_steps).backward()
    finally:
        socket.remove()
        # The planner uses the same models for further runs.
        for parameter in models.adapter.trained:
            parameter.grad = None
    return DryRun(counted.peak, counted.at_peak, operations.total)


def _prepare_gradients(trained: Sequence[nn.Parameter], counted: LiveBytes, are_there: bool) -> None:
    with counted.part(GRADIENTS):
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter) if are_there else None


def _parts(models: DummyModels) -> dict[nn.Module, str]:
    transformer, found = models.frozen.transformer, {}
    for block in blocks_of(transformer):
        found[block] = BLOCKS
    for branch in models.adapter.network.branches.values():
        found[branch.encoder] = ADAPTER
        # Of these only the layers are called as modules.
        found |= dict.fromkeys(
            (layer for each in branch.get_submodule("attention").children() for layer in each.children()), ADAPTER
        )
    # Leaves, since checkpointed decoding calls the decoder's parts and never the decoder.
    found |= dict.fromkeys(
        (module for module in models.frozen.vae.decoder.modules() if not list(module.children())), DECODER
    )
    if isinstance(models.frozen.recognizer, nn.Module):
        found[models.frozen.recognizer] = RECOGNIZER
    return found
