"""The trainer: one optimizer step, one validation, one checkpoint, and resuming, on a training state."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from withanyone_core.injection.diffusers import AdapterSocket

from ..configuration.finetune import Finetune
from ..configuration.reading import read_tree
from ..configuration.writing import settings_text
from ..distributed.processes import Processes
from ..distributed.sharding import is_sharded
from .batch import Batch, make_batch
from .both_branches import both_branches
from .checkpoints import (
    CONFIG,
    Checkpoint,
    checkpoints,
    count_of,
    not_finite,
    read_checkpoint,
    read_finite,
    remove_old,
    state_kinds,
    state_tensors,
    step_of,
    write_checkpoint,
)
from .failures import divergence_advice
from .log import STEP_METRICS, VALIDATION_METRICS, MetricsLog
from .optimizer import ExponentialMovingAverage, learning_rate, make_update
from .prefetch import MicroBatch, Prefetcher
from .resume import changed, check_origin, describe_change
from .state import Progress, TrainingState
from .step import COLUMNS, GlobalBatchStats, compute_loss, means, totals
from .validation import Validator, scenes, summary

LOGGER = logging.getLogger("withanyone")
STEP_COLUMNS = (*COLUMNS, "grad_norm", "lr", "skipped", "s_per_step", "wait_fraction", "memory_gib")


class Trainer:
    """Trains a state; `resume` is to be called before anything else."""

    def __init__(self, state: TrainingState) -> None:
        settings, adapter = state.settings, state.adapter
        self.state = state
        self.processes = Processes(state.accelerator)
        self.socket = AdapterSocket(state.frozen.transformer, adapter.network, adapter.weights)
        self.update = make_update(adapter.parameters, state.optimizer, self.processes)
        source, conditioning = state.sources.at(settings), state.conditioning
        validation = settings.validation
        chosen = scenes(
            source.cache, source.sampler, settings.seed, validation.num_images, conditioning.person, validation.seeds
        )
        self.validator = Validator(
            settings,
            source.cache,
            chosen,
            state.frozen,
            self.socket,
            conditioning,
            state.evaluation_models,
            both_branches(settings, adapter, source.cache),
            state.prompts,
        )
        self._prefetcher = Prefetcher(self.batch, self._micro_batch_after)
        self._wait_s = 0.0

    def step(self) -> None:
        """One step of the optimizer; a NaN or infinite loss or gradient changes nothing and is counted."""
        started, self._wait_s = time.perf_counter(), 0.0
        state, number = self.state, self.state.progress.step
        settings = state.settings.at(number)
        values = [
            self._accumulate(settings, number, index) for index in range(settings.optim.gradient_accumulation_steps)
        ]
        row = means(self.processes.summed(totals(values)))
        rate = learning_rate(settings.optim, number, state.settings.optim.steps)
        is_finite = _finite_or_none(row["loss"]) is not None
        norm, is_finite = self.update.step(rate, settings.optim.max_grad_norm, is_finite)
        if is_finite:
            state.ema.update(state.adapter.parameters, number + 1)
        self._count(is_finite)
        seconds = time.perf_counter() - started
        row |= {"grad_norm": norm, "lr": rate, "skipped": state.progress.skipped}
        row |= {"s_per_step": seconds, "wait_fraction": self._wait_s / seconds, "memory_gib": _memory_gib()}
        state.progress.row = {name: _finite_or_none(value) for name, value in row.items()}
        if self.processes.is_main:
            self.step_log.add(state.progress.step, state.progress.row)

    def validate(self) -> None:
        """Validation losses at fixed noise, generated previews, and their scores.

        By the main process alone; where the base model is sharded, the others help it compute.
        """
        if not self.validator.shown:
            return
        self._check_finite(self.state.adapter.parameters)
        losses: list[float] = []
        images: list[np.ndarray] = []
        if self.processes.is_main or is_sharded(self.state.frozen.transformer):
            with self.ema_weights():
                losses, images = self.validator.generate(self.processes.is_main)
        found = self.processes.from_main(lambda: self._score(losses, images))
        progress = self.state.progress
        progress.measured.append({"step": progress.step, **found})
        LOGGER.info("Validation at step %d: %s.", progress.step, summary(found))

    def save(self) -> None:
        """A checkpoint of this moment; the latest few and the best one are kept.

        Raises RuntimeError where trained values are NaN or infinite.
        """
        states = self.update.tensors()
        self._check_finite({**self.state.adapter.parameters, **self.state.ema.tensors, **states})
        if self.processes.is_main:
            self._write(states)
        self.processes.wait()

    def resume(self) -> None:
        """Resumes from the latest checkpoint, or starts.

        Raises ValueError for checkpoints of other settings or another adapter, or where resuming is forbidden.
        """
        state, run = self.state, self.state.run
        content = read_finite(run) if self.processes.is_main else None
        self.processes.wait()  # until the main process has set aside what nobody should resume from
        found = checkpoints(run)
        if found and state.settings.resume == "never":
            raise ValueError(
                f"{run} holds checkpoints up to step {step_of(found[-1])}, and resume is never. Name another folder "
                "(out=...), or set resume=auto to resume."
            )
        if found:
            lines = changed(read_tree(found[-1] / CONFIG), state.settings.model_dump(mode="json"), step_of(found[-1]))
            self._restore(*(content or read_checkpoint(found[-1])))
            state.progress.changes += lines
            for line in lines:
                LOGGER.warning("A setting has changed since the last checkpoint: %s.", describe_change(line))
            LOGGER.info("Resuming from step %d.", state.progress.step)
        self.processes.check_alike(
            {**state.origin, "checkpoint at step": state.progress.step, "seed": state.settings.seed}
        )
        if self.processes.is_main:
            self._open_logs()

    def close(self) -> None:
        self._prefetcher.close()
        if self.processes.is_main:
            self.step_log.close()
            self.validation_log.close()
        self.socket.remove()

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Inside, the parameters are their exponential moving averages, where there are some."""
        adapter, ema = self.state.adapter, self.state.ema
        if not ema.tensors:
            yield
            return
        own = {name: value.detach().clone() for name, value in adapter.parameters.items()}
        adapter.load(ema.tensors)
        try:
            yield
        finally:
            adapter.load(own)

    def batch(self, step: int, index: int) -> Batch:
        """This process's part of a micro-batch. It is made in a thread."""
        settings, processes = self.state.settings.at(step), self.processes
        source, count = self.state.sources.at(settings), settings.optim.batch_size * processes.count
        samples = source.sampler.micro_batch(
            settings.data, settings.seed, step, index * count, count, processes.index, processes.count
        )
        frozen = self.state.frozen
        negatives = settings.nce.negatives if frozen.recognizer is not None else 0
        return make_batch(
            source.cache, samples, frozen.scale, source.bank, negatives, self.state.conditioning, settings.noise
        )

    def _micro_batch_after(self, micro_batch: MicroBatch) -> MicroBatch | None:
        (step, index), optim = micro_batch, self.state.settings.optim
        if index + 1 < optim.gradient_accumulation_steps:
            return step, index + 1
        return (step + 1, 0) if step + 1 < optim.steps else None

    def _accumulate(self, settings: Finetune, step: int, index: int) -> Mapping[str, list[float]]:
        """Adds the gradients of this process's part of a micro-batch; the numbers of that part."""
        state, device, started = self.state, self.state.accelerator.device, time.perf_counter()
        batch = self._prefetcher.take(step, index)
        self._wait_s += time.perf_counter() - started
        total = GlobalBatchStats.of(batch, state.frozen, settings, self.processes).to(device)
        bank = state.sources.at(settings).device_bank
        found = compute_loss(batch.to(device), state.frozen, self.socket, bank, settings, total)
        count = settings.optim.gradient_accumulation_steps
        # The mean over micro-batches, which have equally many samples.
        self.update.backward(found.loss / count, is_last=index + 1 == count)
        return found.values

    def _count(self, is_finite: bool) -> None:
        """Raises RuntimeError where too many steps in a row had to be skipped."""
        progress, limit = self.state.progress, self.state.settings.optim.skip_limit
        progress.step += 1
        if is_finite:
            progress.skipped_in_row = 0
            return
        progress.skipped += 1
        progress.skipped_in_row += 1
        LOGGER.warning("Step %d skipped: its loss or gradient is NaN or infinite.", progress.step)
        if progress.skipped_in_row >= limit:
            raise RuntimeError(
                f"The loss was NaN or infinite at {limit} steps in a row (up to step {progress.step}), so the run has "
                f"stopped. {self._advice(progress.step - progress.skipped_in_row)}"
            )

    def _check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises RuntimeError, in all processes, where a step has made the trained numbers overflow."""
        wrong = self.processes.from_main(lambda: not_finite(tensors))
        if wrong:
            step = self.state.progress.step
            raise RuntimeError(
                f"After step {step} trained values are not finite any more, in {count_of(wrong, len(tensors))}, so "
                f"the run has stopped. {self._advice(step)}"
            )

    def _advice(self, step: int) -> str:
        return divergence_advice(self.state.settings, step, self.processes.is_main)

    def _score(self, losses: list[float], images: Sequence[np.ndarray]) -> dict[str, Any]:
        step = self.state.progress.step
        found = self.validator.score(step, losses, images)
        self.validation_log.add(step, self.validator.row(found))
        names = (scene.name for scene in self.validator.shown)
        self.validation_log.add_images(step, dict(zip(names, images, strict=True)))
        return found

    def _write(self, states: Mapping[str, Tensor]) -> None:
        state, progress = self.state, self.state.progress
        values = state.ema.tensors or state.adapter.parameters
        numbers = {
            "origin": dict(state.origin),
            "progress": progress.to_json(),
            "optimizer": self.update.numbers(),
        }
        checkpoint = Checkpoint(
            progress.step,
            *state.adapter.content(values, progress.step),
            state_tensors(state.adapter.parameters, states, state.ema.tensors),
            numbers,
            settings_text(state.settings),
            {"step": progress.step, **progress.row, "validations": progress.measured},
        )
        write_checkpoint(state.run, checkpoint)
        best = state.verdict.best_step
        # The best one is what the result is made of.
        remove_old(state.run, state.settings.save.keep, () if best is None else (best,))

    def _restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        state = self.state
        check_origin(numbers["origin"], state.origin)
        kinds = state_kinds(tensors)
        state.adapter.load(kinds["parameter"])
        # After the parameters: ZeRO takes its float32 copies from them here.
        self.update.restore(kinds["optimizer"], numbers["optimizer"])
        state.ema = ExponentialMovingAverage(kinds["average"] or state.adapter.parameters, state.settings.optim.ema)
        # A resumed run has all its tries again, since what was changed may help.
        state.progress = Progress.from_json({**numbers["progress"], "skipped_in_row": 0})

    def _open_logs(self) -> None:
        run, progress = self.state.run, self.state.progress
        accelerator = self.state.accelerator
        self.step_log = MetricsLog(run / STEP_METRICS, STEP_COLUMNS, progress.step, accelerator)
        # Where the checkpoint holds no validation, that of step 0 is taken again, and its old row goes.
        last = progress.step if progress.measured else -1
        self.validation_log = MetricsLog(run / VALIDATION_METRICS, self.validator.columns, last, accelerator)


def _finite_or_none(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _memory_gib() -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
