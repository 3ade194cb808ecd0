"""A run with everything it needs, and the four things it does: step, look, save and go on."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket

from ..configuration.finetune import Finetune
from ..configuration.writing import settings_text
from ..evaluation.measuring import Instruments
from .batch import Reading, make_batch
from .checkpoints import Checkpoint, checkpoints, read_checkpoint, remove_old, step_of, write_checkpoint
from .judging import Truth, encoded, headline, judged, look_of, truth_of
from .optimiser import Average, learning_rate, optimiser_numbers, optimiser_tensors, restore_optimiser
from .painting import Scene, painted, scenes, validation_losses
from .progress import Progress
from .records import Records
from .source import Sources
from .step import COLUMNS, Frozen, mean_values, run_pass
from .stopping import Verdict, verdict
from .trained import Trained

LOGGER = logging.getLogger("withanyone")
STEP_COLUMNS = (*COLUMNS, "grad_norm", "lr", "skipped", "s_per_step", "memory_gib")
MEASURES = ("sim_gt", "sim_ref", "copy_paste", "leakage")
PREVIEWS = "previews"


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
    optimiser: torch.optim.Optimizer
    instruments: Instruments | None
    origin: Mapping[str, str]
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        optim = self.settings.optim
        self.socket = AdapterSocket(self.frozen.transformer, self.trained.network, self.trained.weights)
        self.average = Average(self.trained.parameters, optim.ema)
        source = self.sources.at(self.settings)
        self.scenes = scenes(source.cache, source.sampler, self.settings.seed, self.settings.eval.prompts)
        self._truths: list[Truth] = []
        self._names = {parameter: name for name, parameter in self.trained.parameters.items()}

    @property
    def run(self) -> Path:
        return self.settings.out

    @property
    def reading(self) -> Reading:
        file = self.trained.file
        return Reading(Branch.SIG in self.trained.weights, file is not None and file.truncates_boxes)

    @property
    def verdict(self) -> Verdict:
        """Which checkpoint is best, and whether to stop now."""
        look = self.settings.eval
        found = verdict(self.progress.looks, look.rise, look.gain, look.patience)
        return found if look.stop else Verdict(found.best_step)

    @property
    def is_over(self) -> bool:
        return self.progress.step >= self.settings.optim.steps or self.verdict.stop

    def step(self) -> None:
        """One step of the optimiser; one whose loss or gradient is no number changes nothing and is counted."""
        started = time.perf_counter()
        settings, number = self.settings.at(self.progress.step), self.progress.step
        values = [self._pass(settings, number, index) for index in range(settings.optim.accum)]
        parameters = list(self.trained.parameters.values())
        norm = self.accelerator.clip_grad_norm_(parameters, settings.optim.clip or math.inf)
        row = mean_values(values)
        rate = learning_rate(settings.optim, number, self.settings.optim.steps)
        is_sound = math.isfinite(row["loss"]) and math.isfinite(float(norm))
        if is_sound:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.average.update(self.trained.parameters, number + 1)
        self.optimiser.zero_grad(set_to_none=True)
        self._count(is_sound)
        row |= {"grad_norm": float(norm), "lr": rate, "skipped": self.progress.skipped}
        row |= {"s_per_step": time.perf_counter() - started, "memory_gib": _memory_gib()}
        self.progress.row = {
            name: value if value is None or math.isfinite(value) else None for name, value in row.items()
        }
        self.steps.add(self.progress.step, row)

    def look(self) -> None:
        """Validation at fixed noise, previews, and what the judges say of them."""
        look = self.settings.eval
        if not self.scenes:
            return
        cache = self.sources.at(self.settings).cache
        with self.averaged():
            losses = validation_losses(
                cache,
                self.scenes,
                self.frozen,
                self.socket,
                look.noise_levels,
                self.settings.noise.guidance,
                self.reading,
            )
            pictures = [
                painted(cache, scene, self.frozen, self.socket, look.steps, look.guidance, self.reading)
                for scene in self.scenes
            ]
        truths = self._known_truths()
        folder = self.run / PREVIEWS / f"step-{self.progress.step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for scene, picture in zip(self.scenes, pictures, strict=True):
            (folder / f"{scene.name}.png").write_bytes(encoded(picture))
        numbers: dict[str, Any] = dict.fromkeys(MEASURES)
        if self.instruments is not None:
            lines = judged(pictures, truths, self.scenes, self.instruments)
            numbers = headline(lines, self.instruments, self.settings.seed)
        self.progress.looks.append(look_of(self.progress.step, numbers))
        self.progress.measured.append({"step": self.progress.step, "validation": losses, **numbers})
        means = {name: numbers[name] and numbers[name]["mean"] for name in MEASURES}
        levels = {_level_name(index, look.noise_levels): loss for index, loss in enumerate(losses)}
        self.looks.add(self.progress.step, {**means, "validation": sum(losses) / len(losses), **levels})

    def save(self) -> None:
        """A checkpoint of this moment; the latest few and the best one are kept."""
        progress = self.progress
        values = self.average.tensors or self.trained.parameters
        numbers = {
            "origin": dict(self.origin),
            "progress": progress.to_json(),
            "optimiser": optimiser_numbers(self.optimiser, self._names),
        }
        checkpoint = Checkpoint(
            progress.step,
            self.trained.result(values),
            {"format": "pt", "withanyone.step": str(progress.step)},
            self._state(),
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
        found = checkpoints(self.run)
        if found and self.settings.resume == "never":
            raise ValueError(
                f"{self.run} holds checkpoints up to step {step_of(found[-1])}, and resume is never. Name another "
                "folder (out=...), or set resume=auto to go on."
            )
        if found:
            self._restore(*read_checkpoint(found[-1]))
            LOGGER.info("Going on from step %d.", self.progress.step)
        levels = self.settings.eval.noise_levels
        names = [_level_name(index, levels) for index in range(levels)]
        self.steps = Records(self.run / "metrics.csv", STEP_COLUMNS, self.progress.step)
        self.looks = Records(
            self.run / "looks.csv",
            (*MEASURES, "validation", *names),
            self.progress.step if self.progress.looks else -1,
        )

    def close(self) -> None:
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
        source, count = self.sources.at(settings), settings.optim.batch
        samples = source.sampler.micro_batch(settings.data, settings.seed, step, index * count, count)
        negatives = settings.nce.negatives if self.frozen.recogniser is not None else 0
        batch = make_batch(source.cache, samples, self.frozen.scale, source.bank, negatives, self.reading)
        passed = run_pass(batch.to(self.accelerator.device), self.frozen, self.socket, source.device_bank, settings)
        self.accelerator.backward(passed.loss / settings.optim.accum)
        return passed.values

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
                "stopped; its checkpoints are sound. Lower optim.lr, or raise optim.warmup; where it happens from the "
                "first step, run in a wider type (base.precision=fp32) to see whether the base model overflows."
            )

    def _known_truths(self) -> list[Truth]:
        if not self._truths:
            cache = self.sources.at(self.settings).cache
            self._truths = [truth_of(cache, scene, self.frozen) for scene in self.scenes]
            _write_truths(self.run / PREVIEWS / "truth", self.scenes, self._truths)
        return self._truths

    def _state(self) -> dict[str, Tensor]:
        kinds = {
            "parameter": self.trained.parameters,
            "optimiser": optimiser_tensors(self.optimiser, self._names),
            "average": self.average.tensors,
        }
        return {
            f"{kind}/{name}": value.detach().contiguous().cpu()
            for kind, tensors in kinds.items()
            for name, value in tensors.items()
        }

    def _restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        _check_origin(numbers["origin"], self.origin)
        kinds: dict[str, dict[str, Tensor]] = {"parameter": {}, "optimiser": {}, "average": {}}
        for name, value in tensors.items():
            kind, key = name.split("/", 1)
            kinds[kind][key] = value
        self.trained.load(kinds["parameter"])
        restore_optimiser(self.optimiser, self.trained.parameters, kinds["optimiser"], numbers["optimiser"])
        self.average = Average(kinds["average"] or self.trained.parameters, self.settings.optim.ema)
        self.progress = Progress.from_json(numbers["progress"])


def _check_origin(saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    if saved["adapter"] != now["adapter"]:
        raise ValueError(
            f"The run's checkpoints started from another adapter ({saved['adapter']}) than adapter.init now names "
            f"({now['adapter']}). Set it back, or give the run another folder (out=...)."
        )
    if saved["data"] != now["data"]:
        LOGGER.warning("The prepared photos have changed since the last checkpoint; the run goes on with the new ones.")


def _write_truths(folder: Path, chosen: tuple[Scene, ...], truths: list[Truth]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene, truth in zip(chosen, truths, strict=True):
        (folder / f"{scene.name}.png").write_bytes(truth.photo)
        for number, reference in enumerate(truth.references, start=1):
            (folder / f"{scene.name}_reference_{number}.png").write_bytes(reference)


def _level_name(index: int, levels: int) -> str:
    return f"validation_{(index + 0.5) / levels:.3f}"


def _memory_gib() -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
