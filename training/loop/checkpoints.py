"""Checkpoints: written atomically, kept or removed, and set aside where their values are NaN or infinite.

ckpt-000500/adapter.safetensors  the result as it stands (averaged where an average is kept)
            state.safetensors    parameters, optimizer's states and EMA, float32
            state.json           counters and the series of validations
            config.yaml          the settings
            metrics.json         the latest numbers
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from withanyone_core.files.tensors import save_tensors

LOGGER = logging.getLogger("withanyone")
PREFIX, PARTIAL, DIVERGED = "ckpt-", ".partial", ".diverged"
ADAPTER, STATE, NUMBERS = "adapter.safetensors", "state.safetensors", "state.json"
CONFIG, METRICS = "config.yaml", "metrics.json"
KINDS = ("parameter", "optimizer", "average")  # of state tensors
_FILES = (ADAPTER, STATE, NUMBERS, CONFIG, METRICS)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One checkpoint's content.

    adapter   tensors of the result file, and their header
    state     tensors that the run resumes from
    numbers   counters and series, as JSON
    config    the settings as YAML
    metrics   the latest numbers, for people
    """

    step: int
    adapter: Mapping[str, Tensor]
    header: Mapping[str, str]
    state: Mapping[str, Tensor]
    numbers: Mapping[str, Any]
    config: str
    metrics: Mapping[str, Any]


def folder_of(run: Path, step: int) -> Path:
    return run / f"{PREFIX}{step:06d}"


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(PREFIX))


def checkpoints(run: Path) -> list[Path]:
    """The finished checkpoints of a run, oldest first."""
    found = [path for path in run.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    return sorted((path for path in found if all((path / name).is_file() for name in _FILES)), key=step_of)


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint under a temporary name, flushes it to the disk and renames it.

    A run killed at any moment leaves either the whole checkpoint or none. Raises OSError where the disk does not take
    it; earlier checkpoints stay.
    """
    folder = folder_of(run, checkpoint.step)
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_tensors(partial / ADAPTER, checkpoint.adapter, checkpoint.header)
        save_tensors(partial / STATE, checkpoint.state)
        for name, text in (
            (NUMBERS, json.dumps(checkpoint.numbers, indent=1)),
            (CONFIG, checkpoint.config),
            (METRICS, json.dumps(checkpoint.metrics, indent=1)),
        ):
            (partial / name).write_text(text, encoding="utf-8")
        # Before the rename: after a power cut the new name could otherwise stand for empty files.
        for name in _FILES:
            _to_disk(partial / name)
        shutil.rmtree(folder, ignore_errors=True)  # an older run's, already resumed from
        partial.rename(folder)
        # The rename itself is safe once the folder's entry is on the disk.
        _to_disk(run)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = checkpoints(run)
        raise OSError(
            f"The checkpoint of step {checkpoint.step} could not be written to {run} ({error}). It needs "
            f"{_size(checkpoint) / 2**30:.2f} GiB; {_free(run)}. Free some space and start the same command again: it "
            f"resumes from {f'step {step_of(kept[-1])}' if kept else 'the beginning'}."
        ) from error
    return folder


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State tensors and numbers of a checkpoint. Raises ValueError for one that is damaged."""
    try:
        return load_file(folder / STATE), json.loads((folder / NUMBERS).read_text(encoding="utf-8-sig"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(
            f"The checkpoint {folder} is damaged ({error}). Delete this folder; the run then resumes from the one "
            "before."
        ) from error


def state_tensors(*kinds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters, the optimizer's states and EMA in one mapping, on the CPU, named `KIND/NAME`."""
    return {
        f"{kind}/{name}": value.detach().contiguous().cpu()
        for kind, tensors in zip(KINDS, kinds, strict=True)
        for name, value in tensors.items()
    }


def state_kinds(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What `state_tensors` has merged, by kind."""
    found: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    for name, value in tensors.items():
        kind, key = name.split("/", 1)
        found[kind][key] = value
    return found


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, tensor in tensors.items() if not is_finite(tensor)]


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite, by the extremes: NaN spreads to both, and no mask is allocated."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    return bool(torch.stack(torch.aminmax(tensor.detach())).isfinite().all())


def count_of(names: list[str], total: int) -> str:
    """`34 of 51 tensors (a, b, c, ...)`."""
    return f"{len(names)} of {total} tensors ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"


def set_aside(folder: Path) -> Path:
    """Renames the checkpoint of a diverged run, so that nothing resumes from it; its new name."""
    aside = folder.with_name(folder.name + DIVERGED)
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def read_finite(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `read_checkpoint` gives of the latest checkpoint whose values are all finite; later ones are set aside.

    None where there is none. ValueError for one that is damaged.
    """
    for folder in reversed(checkpoints(run)):
        state, numbers = read_checkpoint(folder)
        wrong = not_finite(state)
        if not wrong:
            return state, numbers
        aside = set_aside(folder)
        LOGGER.warning(
            "The checkpoint of step %d holds values that are not finite, in %s; it was set aside as %s.",
            step_of(folder),
            count_of(wrong, len(state)),
            aside.name,
        )
    return None


def remove_old(run: Path, keep: int, also: Iterable[int] = ()) -> None:
    """Deletes all but the latest `keep` checkpoints and those of the steps named."""
    finished = checkpoints(run)
    spared = {*map(step_of, finished[-keep:]), *also}
    for path in finished:
        if step_of(path) not in spared:
            # Renamed first: a deletion cut short must not leave a checkpoint that seems whole.
            gone = path.with_name(path.name + PARTIAL)
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such thing for folders
    # Windows flushes only what was opened for writing.
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(checkpoint: Checkpoint) -> int:
    tensors = [*checkpoint.adapter.values(), *checkpoint.state.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _free(run: Path) -> str:
    with suppress(OSError):
        return f"{shutil.disk_usage(run).free / 2**30:.2f} GiB are free"
    return "how much is free is unknown"
