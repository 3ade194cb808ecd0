"""Two real steps, and what they took of the device's memory."""

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..base.registry import family_of_module
from ..configuration.finetune import Finetune
from ..loop.batch import Batch
from ..loop.build import build_trainer
from ..loop.failures import out_of_memory_advice
from ..loop.trainer import Trainer
from .counting import LiveBytes, tensor_bytes
from .dummy_models import changed
from .fake_tensors import BatchShape

STEPS = 2


@dataclass(frozen=True)
class Trial:
    """What the steps took.

    measured  bytes: the device's own count of its peak, or of tensors counted on a CPU
    by        who counted
    shape      the largest of the passes that were run
    seconds   of each step
    losses    of each step
    """

    measured: int
    by: Literal["device", "count"]
    shape: BatchShape
    seconds: tuple[float, ...]
    losses: tuple[float, ...]


def run_trial(settings: Finetune) -> Trial:
    """Opens the run in a folder of its own that is thrown away, and takes two steps in which every sample is judged.

    Raises as `build_trainer`, and RuntimeError where the device runs out of memory.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _quiet():
        changes = {
            # Every sample is decoded and judged: the most that a step takes.
            "id_loss.max_sigma": 1.0,
            "validation.num_images": 0,
            "validation.judges": (),
            "validation.prompts": (),
            "phases": (),
            "out": Path(folder),
        }
        small = changed(settings, changes)
        with out_of_memory_advice(small):
            trainer = build_trainer(small)
            try:
                return measure_steps(trainer)
            finally:
                trainer.close()


def measure_steps(trainer: Trainer) -> Trial:
    accumulated = range(trainer.state.settings.optim.gradient_accumulation_steps)
    micro_batches = [(step, index) for step in range(STEPS) for index in accumulated]
    # A batch follows from its step and its number, so the steps below get these same ones.
    shapes = [shape_of_batch(trainer.batch(*micro_batch), trainer) for micro_batch in micro_batches]
    on_device = trainer.state.accelerator.device.type == "cuda"
    seconds, losses = [], []
    counted = LiveBytes()
    # On a CPU only what the steps make is counted; what is there before is added.
    held = 0 if on_device else _held(trainer)
    if on_device:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        started = time.perf_counter()
        if on_device:
            trainer.step()
            # A step returns before the device has done it.
            torch.cuda.synchronize()
        else:
            with counted:
                trainer.step()
        seconds.append(time.perf_counter() - started)
        losses.append(trainer.state.progress.row["loss"])
    measured = torch.cuda.max_memory_allocated() if on_device else held + counted.peak
    largest = max(shapes, key=lambda shape: (shape.batch * shape.tokens, shape.covered))
    return Trial(measured, "device" if on_device else "count", largest, tuple(seconds), tuple(losses))


def shape_of_batch(batch: Batch, trainer: Trainer) -> BatchShape:
    """How large a pass is."""
    people, latent_px = batch.people, family_of_module(trainer.state.frozen.transformer).latent_px
    height, width = (latent_px * side for side in batch.clean_BCHW.shape[-2:])
    counts = torch.bincount(batch.faces.sample_F, minlength=len(batch.sigmas_B))
    rows = 0 if batch.rows_FK is None else batch.rows_FK.shape[1]
    bank = trainer.state.sources.at(trainer.state.settings).bank
    return BatchShape(
        width,
        height,
        len(batch.sigmas_B),
        people.members_BPN.shape[1],
        int(counts.max()) if trainer.state.frozen.recognizer is not None else 0,
        max(1, int(people.members_BPN.any(1).sum(1).max())),
        {name: tuple(tensor.shape[1:]) for name, tensor in batch.text.items()},
        batch.target_FE.shape[-1],
        None if people.siglip_BPTW is None else (people.siglip_BPTW.shape[2], people.siglip_BPTW.shape[3]),
        (len(bank.unit_NE), rows) if bank is not None and rows else (0, 0),
        batch.clean_BCHW.shape[1],
        latent_px,
    )


def _held(trainer: Trainer) -> int:
    """Bytes that are there before the first step."""
    frozen, source = trainer.state.frozen, trainer.state.sources.at(trainer.state.settings)
    modules = [frozen.transformer, frozen.vae, trainer.state.adapter.network]
    modules += [frozen.recognizer] if isinstance(frozen.recognizer, nn.Module) else []
    tensors: list[Tensor] = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    tensors += [*trainer.state.adapter.parameters.values(), *trainer.state.ema.tensors.values()]
    tensors += [source.device_bank.unit_NE] if source.device_bank is not None else []
    return tensor_bytes(tensors)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of a run without validation, which these two steps are on purpose."""
    logger = logging.getLogger("withanyone")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
