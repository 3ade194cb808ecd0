"""A run with everything it needs, and the four things it does: step, look, save and go on."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket

from ..configuration.finetune import Finetune
from ..configuration.reading import read_tree
from ..configuration.writing import settings_text
from ..evaluation.measuring import Instruments
from .ahead import Ahead, Turn
from .batch import Batch, Reading, make_batch
from .changed_settings import changed, readable
from .checkpoints import (
    CONFIG,
    Checkpoint,
    checkpoints,
    folder_of,
    read_checkpoint,
    read_sound,
    remove_old,
    set_aside,
    step_of,
    write_checkpoint,
)
from .judging import look_of
from .looking import Looking, summary
from .optimizer import Average, learning_rate
from .painting import scenes
from .processes import Processes
from .progress import Progress
from .records import Records
from .sharding import is_divided
from .soundness import counted, not_finite
from .source import Sources
from .state import state_kinds, state_tensors
from .step import COLUMNS, Frozen, Whole, means, run_pass, totals
from .stopping import Verdict, verdict
from .trained import Trained
from .updating import make_update

LOGGER = logging.getLogger("withanyone")
STEP_COLUMNS = (*COLUMNS, "grad_norm", "lr", "skipped", "s_per_step", "wait_share", "memory_gib")


@dataclass(eq=False)
class Session:
    """A run in progress; `resume` has been called before anything else.

    origin  what must be the same when a run goes on: the adapter it started from, the data
    """

    settings: Finetune
    accelerator: Accelerator
    frozen: Frozen
    trained: Trained
    sources: Sources
    optimizer: torch.optim.Optimizer
    instruments: Instruments | None
    origin: Mapping[str, str]
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        optim = self.settings.optim
        self.socket = AdapterSocket(self.frozen.transformer, self.trained.network, self.trained.weights)
        self.average = Average(self.trained.parameters, optim.ema)
        source = self.sources.at(self.settings)
        self.scenes = scenes(
            source.cache, source.sampler, self.settings.seed, self.settings.validation.num_images, self.reading.person
        )
        self._looking = Looking(
            self.settings, source.cache, self.scenes, self.frozen, self.socket, self.reading, self.instruments
        )
        self.processes = Processes(self.accelerator)
        self.update = make_update(self.trained.parameters, self.optimizer, self.processes)
        self._ahead = Ahead(self.batch, self._turn_after)
        self._waited = 0.0

    @property
    def run(self) -> Path:
        return self.settings.out

    @property
    def reading(self) -> Reading:
        file = self.trained.file
        person = self.trained.person
        return Reading(
            Branch.SIG in self.trained.weights,
            file is not None and file.truncates_boxes,
            "" if person is None else person.identity.name,
            self.trained.learned,
        )

    @property
    def verdict(self) -> Verdict:
        """Which checkpoint is best, and whether to stop now."""
        stopping = self.settings.early_stopping
        found = verdict(
            self.progress.looks,
            stopping.max_copy_paste_increase,
            stopping.min_sim_gt_gain,
            stopping.patience,
        )
        return found if stopping.enabled else Verdict(found.best_step)

    @property
    def is_over(self) -> bool:
        return self.progress.step >= self.settings.optim.steps or self.verdict.stop

    def step(self) -> None:
        """One step of the optimizer; one whose loss or gradient is no number changes nothing and is counted."""
        started, self._waited = time.perf_counter(), 0.0
        settings, number = self.settings.at(self.progress.step), self.progress.step
        values = [self._pass(settings, number, index) for index in range(settings.optim.gradient_accumulation_steps)]
        row = means(self.processes.summed(totals(values)))
        rate = learning_rate(settings.optim, number, self.settings.optim.steps)
        norm, is_sound = self.update.step(rate, settings.optim.max_grad_norm, math.isfinite(row["loss"]))
        if is_sound:
            self.average.update(self.trained.parameters, number + 1)
        self._count(is_sound)
        seconds = time.perf_counter() - started
        row |= {"grad_norm": norm, "lr": rate, "skipped": self.progress.skipped}
        row |= {"s_per_step": seconds, "wait_share": self._waited / seconds, "memory_gib": _memory_gib()}
        self.progress.row = {
            name: value if value is None or math.isfinite(value) else None for name, value in row.items()
        }
        if self.processes.is_main:
            self.steps.add(self.progress.step, row)

    def look(self) -> None:
        """Validation at fixed noise, previews, and what the judges say of them.

        By the main process alone; where the base is divided, the others help it compute.
        """
        if not self.scenes:
            return
        self._check_finite(self.trained.parameters)
        losses_and_images = None
        if self.processes.is_main or is_divided(self.frozen.transformer):
            with self.averaged():
                losses_and_images = self._looking.painted()
        found = self.processes.from_main(lambda: self._judged(*losses_and_images))
        self.progress.looks.append(look_of(self.progress.step, found))
        self.progress.measured.append({"step": self.progress.step, **found})
        LOGGER.info("Validation at step %d: %s.", self.progress.step, summary(found))

    def save(self) -> None:
        """A checkpoint of this moment; the latest few and the best one are kept.

        Raises RuntimeError where what is trained is not finite any more.
        """
        states = self.update.tensors()
        self._check_finite({**self.trained.parameters, **self.average.tensors, **states})
        if self.processes.is_main:
            self._write(states)
        self.processes.wait()

    def _write(self, states: Mapping[str, Tensor]) -> None:
        progress = self.progress
        values = self.average.tensors or self.trained.parameters
        numbers = {
            "origin": dict(self.origin),
            "progress": progress.to_json(),
            "optimizer": self.update.numbers(),
        }
        checkpoint = Checkpoint(
            progress.step,
            *self.trained.content(values, progress.step),
            state_tensors(self.trained.parameters, states, self.average.tensors),
            numbers,
            settings_text(self.settings),
            {"step": progress.step, **progress.row, "looks": progress.measured},
        )
        write_checkpoint(self.run, checkpoint)
        best = verdict(progress.looks).best_step
        remove_old(self.run, self.settings.save.keep, () if best is None else (best,))

    def resume(self) -> None:
        """Goes on from the latest checkpoint, or starts.

        Raises ValueError for checkpoints of other settings, another adapter, or where the settings forbid to go on.
        """
        state = read_sound(self.run) if self.processes.is_main else None
        self.processes.wait()  # until the main process has set aside what nobody should go on from
        found = checkpoints(self.run)
        if found and self.settings.resume == "never":
            raise ValueError(
                f"{self.run} holds checkpoints up to step {step_of(found[-1])}, and resume is never. Name another "
                "folder (out=...), or set resume=auto to go on."
            )
        if found:
            lines = changed(read_tree(found[-1] / CONFIG), self.settings.model_dump(mode="json"), step_of(found[-1]))
            self._restore(*(state or read_checkpoint(found[-1])))
            self.progress.changes += lines
            for line in lines:
                LOGGER.warning("A setting has changed since the last checkpoint: %s.", readable(line))
            LOGGER.info("Going on from step %d.", self.progress.step)
        self.processes.check_alike(
            {**self.origin, "checkpoint at step": self.progress.step, "seed": self.settings.seed}
        )
        if self.processes.is_main:
            self._open_records()

    def _open_records(self) -> None:
        step = self.progress.step
        self.steps = Records(self.run / "metrics.csv", STEP_COLUMNS, step)
        self.looks = Records(self.run / "looks.csv", self._looking.columns, step if self.progress.looks else -1)

    def close(self) -> None:
        self._ahead.close()
        if self.processes.is_main:
            self.steps.close()
            self.looks.close()
        self.socket.remove()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters are their running averages, where there are some."""
        if not self.average.tensors:
            yield
            return
        own = {name: value.detach().clone() for name, value in self.trained.parameters.items()}
        self.trained.load(self.average.tensors)
        try:
            yield
        finally:
            self.trained.load(own)

    def _pass(self, settings: Finetune, step: int, index: int) -> Mapping[str, list[float]]:
        """Adds this process's part of a pass to the gradients; the numbers of that part."""
        device, started = self.accelerator.device, time.perf_counter()
        batch = self._ahead.take(step, index)
        self._waited += time.perf_counter() - started
        whole = Whole.of(batch, self.frozen, settings, self.processes).to(device)
        bank = self.sources.at(settings).device_bank
        passed = run_pass(batch.to(device), self.frozen, self.socket, bank, settings, whole)
        self.update.backward(
            passed.loss / settings.optim.gradient_accumulation_steps,
            is_last=index + 1 == settings.optim.gradient_accumulation_steps,
        )
        return passed.values

    def batch(self, step: int, index: int) -> Batch:
        """This process's part of a pass. It is made in a thread."""
        settings, processes = self.settings.at(step), self.processes
        source, count = self.sources.at(settings), settings.optim.batch_size * processes.count
        samples = source.sampler.micro_batch(
            settings.data, settings.seed, step, index * count, count, processes.index, processes.count
        )
        negatives = settings.nce.negatives if self.frozen.recognizer is not None else 0
        return make_batch(source.cache, samples, self.frozen.scale, source.bank, negatives, self.reading)

    def _turn_after(self, turn: Turn) -> Turn | None:
        step, index = turn
        if index + 1 < self.settings.optim.gradient_accumulation_steps:
            return step, index + 1
        return (step + 1, 0) if step + 1 < self.settings.optim.steps else None

    def _judged(self, losses: list[float], images: Sequence[np.ndarray]) -> dict[str, Any]:
        found = self._looking.judged(self.progress.step, losses, images)
        self.looks.add(self.progress.step, self._looking.row(found))
        return found

    def _count(self, is_sound: bool) -> None:
        """Raises RuntimeError where too many steps in a row had to be skipped."""
        progress, limit = self.progress, self.settings.optim.skip_limit
        progress.step += 1
        if is_sound:
            progress.skipped_in_row = 0
            return
        progress.skipped += 1
        progress.skipped_in_row += 1
        LOGGER.warning("Step %d skipped: its loss or gradient is no number.", progress.step)
        if progress.skipped_in_row >= limit:
            raise RuntimeError(
                f"The loss was no number at {limit} steps in a row (up to step {progress.step}), so the run has "
                f"stopped. {self._way_out(progress.step - progress.skipped_in_row)}"
            )

    def _check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises RuntimeError, in all processes, where a step has made the trained numbers overflow."""
        wrong = self.processes.from_main(lambda: not_finite(tensors))
        if wrong:
            raise RuntimeError(
                f"After step {self.progress.step} what is trained is not finite any more, in "
                f"{counted(wrong, len(tensors))}, so the run has stopped. {self._way_out(self.progress.step)}"
            )

    def _way_out(self, step: int) -> str:
        """What to do after a run has diverged from `step` on, whose checkpoint is set aside."""
        diverged = folder_of(self.run, step)
        aside = ""
        if self.processes.is_main and diverged.is_dir():
            aside = f" The checkpoint of step {step} gives no number either and was set aside as "
            aside += f"{set_aside(diverged).name}."
        kept = [path for path in checkpoints(self.run) if step_of(path) < step]
        goes_on = f"goes on from step {step_of(kept[-1])}" if kept else "starts anew"
        return (
            f"Lower optim.lr (it is {self.settings.at(step).optim.lr:g}), or raise optim.warmup_steps; the same "
            f"command then {goes_on}.{aside} Where it happens from the first step, run in a wider type "
            "(base.precision=fp32) and another folder (out=...) to see whether the base model overflows."
        )

    def _restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        _check_origin(numbers["origin"], self.origin)
        kinds = state_kinds(tensors)
        self.trained.load(kinds["parameter"])
        self.update.restore(kinds["optimizer"], numbers["optimizer"])
        self.average = Average(kinds["average"] or self.trained.parameters, self.settings.optim.ema)
        self.progress = Progress.from_json({**numbers["progress"], "skipped_in_row": 0})


def _check_origin(saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    if saved["adapter"] != now["adapter"]:
        raise ValueError(
            f"The run's checkpoints started from another adapter ({saved['adapter']}) than adapter.init now names "
            f"({now['adapter']}). Set it back, or give the run another folder (out=...)."
        )
    if "base" in saved and "base" in now and saved["base"] != now["base"]:
        raise ValueError(
            "The run's checkpoints were trained on another base model than base.path now names. Set it back, or give "
            "the run another folder (out=...)."
        )
    if saved.get("person") != now.get("person"):
        raise ValueError(
            f"The run's checkpoints hold the tokens of {saved.get('person', 'nobody')}, and train.identity now names "
            f"{now.get('person', 'nobody')}. Set it back, or give the run another folder (out=...)."
        )
    if saved["data"] != now["data"]:
        LOGGER.warning("The prepared photos have changed since the last checkpoint; the run goes on with the new ones.")


def _memory_gib() -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
