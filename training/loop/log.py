"""Logging of a run: metrics as CSV and for TensorBoard, a progress bar on a terminal, lines in a log file."""

import csv
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from ..evaluation.records import write_text
from .state import TrainingState

LOGGER = logging.getLogger("withanyone")
STEP_METRICS, VALIDATION_METRICS = "metrics.csv", "validation.csv"
Value = float | int | None
_LINES, _MOST_STEPS_A_LINE = 100, 50  # of a log


class MetricsLog:
    """One table of a run: a row a step, and the same numbers as curves."""

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        """Appends after `step` finished steps; rows beyond it, of a run that was stopped later, are dropped."""
        self.path, self.columns = path, ("step", *columns)
        rows = [row for row in read_rows(path) if int(row["step"]) <= step]
        write_text(
            path, _text(self.columns, [self.columns, *([row.get(name, "") for name in self.columns] for row in rows)])
        )
        self._curves = _curves(path.parent / "tensorboard" / path.stem, step)

    def add(self, step: int, values: Mapping[str, Value]) -> None:
        """Appends a row; what is None or not a column of the table is left empty."""
        row = [step, *(values.get(name) for name in self.columns[1:])]
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            # repr keeps every bit of a float.
            stream.write(_text(self.columns, [["" if value is None else repr(value) for value in row]]))
        if self._curves is not None:
            for name, value in zip(self.columns[1:], row[1:], strict=True):
                if value is not None:
                    self._curves.add_scalar(name, value, step)

    def close(self) -> None:
        if self._curves is not None:
            self._curves.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table as text by column; none where there is no file. A row cut short is left out."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["step"].isdigit() and None not in row.values()]


@contextmanager
def log_steps(state: TrainingState, is_main: bool) -> Iterator[Callable[[], None]]:
    """A function to call after each step: it moves a progress bar on a terminal, or writes lines elsewhere."""
    on_terminal, progress, last = sys.stderr.isatty(), state.progress, state.settings.optim.steps
    is_silent = not (is_main and on_terminal)
    with tqdm(total=last, initial=progress.step, unit="step", disable=is_silent) as bar:

        def log_step() -> None:
            bar.update()
            bar.set_postfix(_numbers(progress.row), refresh=False)
            if not on_terminal:
                _log_line(progress.step, last, progress.row)

        yield log_step


def _log_line(step: int, last: int, row: Mapping[str, float | None]) -> None:
    """A line a hundredth of the run, but at least every 50 steps: for logs, where a bar would be one endless line."""
    if step % min(_MOST_STEPS_A_LINE, max(1, last // _LINES)) == 0 or step == last:
        numbers = ", ".join(f"{name} {value}" for name, value in _numbers(row).items())
        LOGGER.info("Step %d of %d: %s.", step, last, numbers)


def _numbers(row: Mapping[str, float | None]) -> dict[str, str]:
    numbers = {"loss": row.get("loss"), "id": row.get("id"), "s/step": row.get("s_per_step")}
    return {name: f"{value:.3f}" for name, value in numbers.items() if value is not None}


def _text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _curves(folder: Path, step: int) -> "ModuleType | None":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        LOGGER.warning("tensorboard is not installed; the numbers are in CSV files only.")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
