"""Numbers of a run as they come: a CSV file for every program, and TensorBoard's files where it is installed."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from ..evaluation.records import write_text

LOGGER = logging.getLogger("withanyone")
Value = float | int | None


class Records:
    """One table of a run: a row a step, and the same numbers as curves."""

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        """Goes on after `step` finished steps; rows beyond it, of a run that was stopped later, are dropped."""
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
