"""What has been measured, row by row, so that an evaluation that was stopped resumes where it was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.records import Lines
from withanyone_core.files.digest import file_sha256

NOT_MODELS = ("cards",)


class Results:
    """A folder with a file of JSON lines for each section; other weights or settings have files of their own."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def rows(self, section: str) -> dict[int, dict[str, Any]]:
        """What was measured, by the row's number. A line that was cut short as it was written is passed over."""
        return {int(line["case"]): line["found"] for line in self._lines(section)}

    def append(self, section: str, rows: Sequence[Any]) -> None:
        """Adds dataclasses that have a `number`."""
        kept = self._lines(section)
        for row in rows:
            kept.add({"case": str(row.number), "key": self._key, "found": asdict(row)})

    def arrays(self, name: str) -> Mapping[str, np.ndarray] | None:
        """What `keep` kept, None before."""
        path = self._path(f"{name}.npz")
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            return {key: kept[key] for key in kept}

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        path = self._path(f"{name}.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with part.open("wb") as file:
            np.savez(file, **arrays)
        part.replace(path)

    def _lines(self, section: str) -> Lines:
        return Lines(self._path(f"{section}.jsonl"))

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._key}.{name}"


def key_of(weights: Path, settings: Mapping[str, Any]) -> str:
    """Changes with every model in a folder of weights and with the settings; 16 hexadecimal digits."""
    files = sorted(
        path.relative_to(weights)
        for path in weights.rglob("*")
        if path.is_file() and path.relative_to(weights).parts[0] not in NOT_MODELS
    )
    hashed = {path.as_posix(): file_sha256(weights / path) for path in files} | {"settings": dict(settings)}
    return sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]
