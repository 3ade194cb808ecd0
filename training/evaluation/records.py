"""Files written so that an interrupted run leaves whole lines or the old file, never half of one."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, the same bytes for the same value. NaN is refused: no other program would read it."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replaces the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


class Lines:
    """One line of JSON a case, kept between runs; the latest line of a case counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = _read(path)

    def get(self, case: str, key: str) -> Line | None:
        """The case's line if it was measured from the same contents by the same models, both identified by `key`."""
        line = self._known.get(case)
        return line if line is not None and line["key"] == key else None

    def __iter__(self) -> Iterator[Line]:
        """The latest line of each case."""
        return iter(self._known.values())

    def add(self, line: Line) -> Line:
        """Appends the line, which has "case" and "key", and puts it on the disk before returning.

        Returns it as a later run will read it, so that whoever reads it cannot tell the difference.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(line, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        self._known[line["case"]] = json.loads(text)
        with self.path.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(text if _ends_a_line(self.path) else "\n" + text)
            stream.flush()
            os.fsync(stream.fileno())
        return self._known[line["case"]]


def _read(path: Path) -> dict[str, Line]:
    known: dict[str, Line] = {}
    if not path.is_file():
        return known
    for text in path.read_text(encoding="utf-8-sig", errors="replace").split("\n"):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed; its case is measured again
        if isinstance(line, Mapping) and all(isinstance(line.get(name), str) for name in ("case", "key")):
            known[line["case"]] = dict(line)
    return known


def _ends_a_line(path: Path) -> bool:
    size = path.stat().st_size
    if size == 0:
        return True
    with path.open("rb") as stream:
        stream.seek(size - 1)
        return stream.read(1) == b"\n"
