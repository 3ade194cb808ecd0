"""Logging of a run: metrics as CSV and for TensorBoard and Weights & Biases, a progress bar, lines in a log file."""

import csv
import importlib.util
import io
import logging
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from accelerate import Accelerator
from tqdm import tqdm

from ..configuration.finetune import Finetune
from ..configuration.writing import without_paths
from ..evaluation.records import write_text
from .state import TrainingState

if TYPE_CHECKING:  # tensorboard may be missing
    from torch.utils.tensorboard import SummaryWriter

LOGGER = logging.getLogger("withanyone")
STEP_METRICS, VALIDATION_METRICS = "metrics.csv", "validation.csv"
Value = float | int | None
_WANDB_ID = "wandb_id.txt"  # of the run over there, so that a resumed run continues its curves
_LINES, _MOST_STEPS_A_LINE = 100, 50  # of a log
_SMOOTHED_STEPS = 50  # of the running mean of the loss


def make_accelerator(settings: Finetune, is_on_cpu: bool) -> Accelerator:
    """With the tracker that the settings name. Raises RuntimeError where its package is not installed."""
    if not settings.log.wandb:
        return Accelerator(cpu=is_on_cpu)
    if importlib.util.find_spec("wandb") is None:
        raise RuntimeError(
            f"log.wandb is {settings.log.wandb}, and wandb is not installed: run `python -m pip install wandb` and "
            "`wandb login`, or leave log.wandb empty. TensorBoard has the same curves."
        )
    return Accelerator(cpu=is_on_cpu, log_with="wandb")


def start_trackers(accelerator: Accelerator, settings: Finetune) -> None:
    """Starts what `make_accelerator` has chosen; the settings are sent without this machine's paths."""
    if not settings.log.wandb:
        return
    place = settings.out / _WANDB_ID
    if accelerator.is_main_process and not place.is_file():
        write_text(place, uuid.uuid4().hex)
    # The others read what the main process has just written.
    accelerator.wait_for_everyone()
    run = {
        "name": settings.out.name,
        "id": place.read_text(encoding="utf-8-sig").strip(),
        "resume": "allow",
        "dir": str(settings.out),
    }
    recipe = without_paths(settings.model_dump(mode="json"))
    accelerator.init_trackers(settings.log.wandb, config=recipe, init_kwargs={"wandb": run})


class MetricsLog:
    """One table of a run: a row a step, and the same numbers as curves in TensorBoard and in trackers of accelerate."""

    def __init__(self, path: Path, columns: Sequence[str], step: int, accelerator: Accelerator) -> None:
        """Appends after `step` finished steps; rows beyond it, of a run that was stopped later, are dropped."""
        self.path, self.columns, self._accelerator = path, ("step", *columns), accelerator
        rows = [row for row in read_rows(path) if int(row["step"]) <= step]
        write_text(
            path, _text(self.columns, [self.columns, *([row.get(name, "") for name in self.columns] for row in rows)])
        )
        self._curves = _curves(path.parent / "tensorboard" / path.stem, step)

    def add(self, step: int, values: Mapping[str, Value]) -> None:
        """Appends a row; what is None or not a column of the table is left empty."""
        row = [step, *(values.get(name) for name in self.columns[1:])]
        # newline="": the csv module writes the line ends.
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            # repr keeps every bit of a float.
            stream.write(_text(self.columns, [["" if value is None else repr(value) for value in row]]))
        known = {name: value for name, value in zip(self.columns[1:], row[1:], strict=True) if value is not None}
        if self._curves is not None:
            for name, value in known.items():
                self._curves.add_scalar(name, value, step)
        self._accelerator.log({f"{self.path.stem}/{name}": value for name, value in known.items()}, step=step)

    def add_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """RGB uint8 [H, W, 3] by name, for TensorBoard and the trackers."""
        if self._curves is not None:
            for name, image in images.items():
                self._curves.add_image(name, image, step, dataformats="HWC")
        for tracker in self._accelerator.trackers:
            tracker.log_images({f"{self.path.stem}/{name}": [image] for name, image in images.items()}, step=step)

    def close(self) -> None:
        if self._curves is not None:
            self._curves.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table as text by column; none where there is no file. A row cut short is left out."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        # DictReader fills a row that was cut short with None.
        return [row for row in csv.DictReader(stream) if row["step"].isdigit() and None not in row.values()]


@contextmanager
def log_steps(state: TrainingState, is_main: bool) -> Iterator[Callable[[], None]]:
    """A function to call after each step: it moves a progress bar on a terminal, or writes lines elsewhere."""
    on_terminal, progress, last = sys.stderr.isatty(), state.progress, state.settings.optim.steps
    losses = deque(_losses(state.run, progress.step), _SMOOTHED_STEPS)
    is_silent = not (is_main and on_terminal)
    with tqdm(total=last, initial=progress.step, unit="step", disable=is_silent) as bar:

        def log_step() -> None:
            # None at a step whose loss was NaN.
            if progress.row["loss"] is not None:
                losses.append(progress.row["loss"])
            numbers = _numbers(progress.row, losses)
            bar.update()
            bar.set_postfix(numbers, refresh=False)
            if not on_terminal:
                _log_line(progress.step, last, numbers)

        yield log_step


@contextmanager
def validation_bar(passes: int, is_main: bool) -> Iterator[Callable[[], object]]:
    """A function to call after each forward pass of a validation: it moves a progress bar on a terminal."""
    is_silent = not (is_main and sys.stderr.isatty())
    with tqdm(total=passes, desc="validation", unit="pass", leave=False, disable=is_silent) as bar:
        yield bar.update


def _losses(run: Path, step: int) -> list[float]:
    """Of the latest steps, where a run is resumed."""
    rows = [row for row in read_rows(run / STEP_METRICS) if int(row["step"]) <= step and row["loss"]]
    return [float(row["loss"]) for row in rows[-_SMOOTHED_STEPS:]]


def _log_line(step: int, last: int, shown: Mapping[str, str]) -> None:
    """A line a hundredth of the run, but at least every 50 steps: for logs, where a bar would be one endless line."""
    if step % min(_MOST_STEPS_A_LINE, max(1, last // _LINES)) == 0 or step == last:
        numbers = ", ".join(f"{name} {value}" for name, value in shown.items())
        LOGGER.info("Step %d of %d: %s.", step, last, numbers)


def _numbers(row: Mapping[str, float | None], losses: Sequence[float]) -> dict[str, str]:
    """What is shown of a step, its loss also as the running mean of the latest steps."""
    smoothed = {f"mean of {len(losses)} steps": sum(losses) / len(losses)} if len(losses) > 1 else {}
    numbers = {"loss": row.get("loss"), **smoothed, "id": row.get("id"), "s/step": row.get("s_per_step")}
    return {name: f"{value:.3f}" for name, value in numbers.items() if value is not None}


def _text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _curves(folder: Path, step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        LOGGER.warning("tensorboard is not installed; the numbers are in CSV files only.")
        return None
    # TensorBoard hides what a run that was stopped later had written beyond the checkpoint.
    return SummaryWriter(str(folder), purge_step=step + 1)
