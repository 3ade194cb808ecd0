"""One loop for all recipes: seeded by step, stopped by steps or minutes, resumed bitwise identically."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn
from tqdm import tqdm

from .muon import Muon
from .tensor_files import write_tensors

LOGGER = logging.getLogger("withanyone")

SAVE_EVERY_S = 120.0
LOSSES_KEPT = 50  # whose mean is the loss that is reported; a single batch's says little
FINAL_RATE = 0.01  # of the highest learning rate, at the last step
GRADIENT_LIMIT = 1.0  # norm; larger gradients are scaled down to it
SEED_STRIDE = 1_000_003  # a prime, so that no two runs share the random numbers of a step

Batch = tuple[Tensor, ...]


class Batches(Protocol):
    """What a recipe learns from.

    seconds  what rendering it took, whenever that was
    """

    seconds: float

    def __call__(self, step: int) -> Batch:
        """The batch of a step: the same for the same step, in whatever order steps are asked for."""


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    steps, learning_rate  of the run whose weights are shipped; the rate rises over `warmup` steps, then falls as a
                          cosine
    build                 makes the module that is trained, heads that are thrown away included; called under the seed
    batches               from a folder for rendered images and a seed
    loss                  of the module and a batch on its device, under a seed of its own, on CUDA with bf16 autocast
    export                writes the shipped files of the trained module into a folder and names them
    average               decay of the moving average that is exported; 0 exports the weights themselves
    matrices              weights [out, in] that Muon learns; AdamW learns all others
    faster                parameters that learn at twice the rate
    """

    name: str
    steps: int
    learning_rate: float
    build: Callable[[], nn.Module]
    batches: Callable[[Path, int], Batches]
    loss: Callable[[nn.Module, Batch], Tensor]
    export: Callable[[nn.Module, Path], tuple[Path, ...]]
    weight_decay: float = 0.02
    warmup: int = 50
    average: float = 0.995
    matrices: Callable[[nn.Module], Iterable[nn.Parameter]] = lambda _: ()
    faster: Callable[[nn.Module], Iterable[nn.Parameter]] = lambda _: ()


@dataclass
class Run:
    """A module in training with all that its next step depends on."""

    module: nn.Module
    average: nn.Module
    optimizers: tuple[torch.optim.Optimizer, ...]
    seed: int
    steps: int
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean of the last LOSSES_KEPT steps; NaN before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan


def new_run(recipe: Recipe, seed: int = 0, steps: int | None = None, device: str | None = None) -> Run:
    """A run at step 0, on CUDA where there is a device unless said otherwise."""
    torch.manual_seed(seed)
    module = recipe.build().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    average = deepcopy(module).eval().requires_grad_(False)
    return Run(module, average, _optimizers(recipe, module), seed, recipe.steps if steps is None else steps)


def train(recipe: Recipe, run: Run, batches: Batches, state: Path | None = None, minutes: float | None = None) -> None:
    """Takes the run to its last step, or as far as it comes in `minutes`; `state` is written now and then, and last."""
    started, before, saved = time.monotonic(), run.seconds, time.monotonic()
    progress = tqdm(desc=recipe.name, total=run.steps, initial=run.step, unit="step", mininterval=10.0, disable=None)
    with progress, closing(_ahead(batches, run.step, run.steps)) as ahead:
        for batch in ahead:
            take_step(recipe, run, batch)
            now = time.monotonic()
            run.seconds = before + now - started
            progress.update()
            progress.set_postfix(loss=f"{run.loss:.4f}", refresh=False)
            if run.step % LOSSES_KEPT == 0:
                LOGGER.info("%s: step %d of %d, loss %.4f", recipe.name, run.step, run.steps, run.loss)
            if state is not None and now - saved > SAVE_EVERY_S:
                save_state(run, state)
                saved = now
            if minutes is not None and now - started > 60 * minutes:
                break
    if state is not None:
        save_state(run, state)


def take_step(recipe: Recipe, run: Run, batch: Batch) -> None:
    """One step of the optimizer and of the moving average. Raises RuntimeError where the loss is not finite."""
    device = next(run.module.parameters()).device
    torch.manual_seed(run.seed * SEED_STRIDE + run.step)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * group["factor"] * rate(run.step, run.steps, recipe.warmup)
    run.module.train()
    # Processors without bfloat16 emulate it at a tenth of the speed; float32 is right on every one of them.
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        loss = recipe.loss(run.module, tuple(part.to(device, non_blocking=True) for part in batch))
    run.module.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.module.parameters(), GRADIENT_LIMIT)
    for optimizer in run.optimizers:
        optimizer.step()
    run.step += 1
    run.losses = [*run.losses, loss.item()][-LOSSES_KEPT:]
    if not math.isfinite(run.losses[-1]):
        raise RuntimeError(
            f"The loss of {recipe.name} became {run.losses[-1]} at step {run.step}. Resume from the last state, or "
            "begin again with another --seed."
        )
    _follow(run, recipe.average)


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate as a fraction of its highest: a line up over `warmup` steps, then a cosine to FINAL_RATE."""
    if step < warmup:
        return (step + 1) / warmup
    done = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def save_state(run: Run, path: Path) -> None:
    """All of the run as one safetensors file, its numbers as JSON in the header."""
    tensors = {f"module.{key}": value for key, value in run.module.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in run.average.state_dict().items()}
    for name, parameter in run.module.named_parameters():
        for optimizer in run.optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
    numbers = {key: getattr(run, key) for key in ("seed", "steps", "step", "seconds", "losses")}
    contiguous = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    write_tensors(path, contiguous, {"run": json.dumps(numbers)})


def load_state(run: Run, path: Path) -> None:
    """Puts a run made with `new_run` where the saved one stood.

    Raises FileNotFoundError without a state, ValueError for one of another module.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no state {path} to resume from. Leave out --resume to begin.")
    with safe_open(path, "pt") as file:
        numbers = json.loads(file.metadata()["run"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    try:
        run.module.load_state_dict(_under("module.", tensors))
        run.average.load_state_dict(_under("average.", tensors))
    except RuntimeError as error:
        raise ValueError(f"{path.name} is the state of another module: {error}") from error
    owners = {parameter: optimizer for optimizer in run.optimizers for parameter in _learnt_by(optimizer)}
    for name, parameter in run.module.named_parameters():
        kept = _under(f"optimizer.{name}.", tensors)
        if kept:  # AdamW counts its steps on the CPU
            owners[parameter].state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in kept.items()
            }
    for key, value in numbers.items():
        setattr(run, key, value)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimizers(recipe: Recipe, module: nn.Module) -> tuple[torch.optim.Optimizer, ...]:
    """AdamW, before it Muon for the recipe's matrices if it names any. Biases and the numbers of norms do not decay."""
    matrices = list(recipe.matrices(module))
    by_muon, fast = {id(parameter) for parameter in matrices}, {id(parameter) for parameter in recipe.faster(module)}
    rest = [each for each in module.parameters() if each.requires_grad and id(each) not in by_muon]
    groups = [
        {
            "params": [each for each in rest if (id(each) in fast, each.ndim > 1) == (is_fast, decays)],
            "weight_decay": recipe.weight_decay * decays,
            "factor": 2.0 if is_fast else 1.0,
        }
        for is_fast in (False, True)
        for decays in (False, True)
    ]
    used = [group for group in groups if group["params"]]
    adamw = torch.optim.AdamW(used, lr=recipe.learning_rate, betas=(0.9, 0.98))
    if not matrices:
        return (adamw,)
    return Muon([{"params": matrices, "factor": 1.0}], recipe.learning_rate, recipe.weight_decay), adamw


def _learnt_by(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]


@torch.no_grad()
def _follow(run: Run, decay: float) -> None:
    """The moving average, which remembers less while there is little worth remembering."""
    weight = 1 - min(decay, run.step / (run.step + 10))
    for average, value in zip(run.average.state_dict().values(), run.module.state_dict().values(), strict=True):
        if average.is_floating_point():
            average.lerp_(value, weight)
        else:
            average.copy_(value)


def _ahead(batches: Batches, first: int, end: int) -> Iterator[Batch]:
    """The batches from `first` up to `end`, the next one made while the last one is learned."""
    with ThreadPoolExecutor(1) as maker:
        following = maker.submit(batches, first)
        for step in count(first):
            if step >= end:
                return
            batch = following.result()
            following = maker.submit(batches, min(step + 1, end - 1))
            yield batch
