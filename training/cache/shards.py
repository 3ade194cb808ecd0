"""Tensors on disk by content: a name says what was computed by which model from which pixels.

What a run needs and a shard already has is not computed again. That one rule is how interrupted runs resume and how a
changed model rebuilds only what depends on it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

SUFFIX = ".safetensors"
SHARD_BYTES = 64 * 2**20  # lost at most when a run is killed, and few enough files for a million photos
PARTIAL = ".partial"


def key_of(*parts: object) -> str:
    """Name of what follows from these parts: 32 hexadecimal digits."""
    return sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: a temporary file, flushed to the disk and renamed.

    Raises OSError where the disk does not take it; what was there before stays.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} could not be written ({error.strerror or error}); {len(content) / 2**20:.1f} MiB were needed. "
            "Free some space or name another cache folder, and run the same command again: it resumes where it "
            "stopped, and the cache as it was before can still be used."
        ) from error


class Shards(Mapping[str, Tensor]):
    """The tensors of all shards of a folder, read when asked for."""

    def __init__(self, folder: Path) -> None:
        """Reads the headers only. A shard that cannot be read is left out; what it held is computed again."""
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._open: dict[Path, safe_open] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            self.add(path)

    def add(self, path: Path) -> None:
        """Takes in one more shard."""
        with suppress(SafetensorError, OSError), safe_open(path, framework="pt") as shard:
            self._files.update(dict.fromkeys(shard.keys(), path))

    def file_of(self, name: str) -> Path:
        """The shard that holds a tensor. Raises KeyError."""
        return self._files[name]

    def __getitem__(self, name: str) -> Tensor:
        path = self._files[name]
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")
        return self._open[path].get_tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getstate__(self) -> dict[str, object]:
        # Worker processes open the files themselves.
        return {**self.__dict__, "_open": {}}

    def close(self) -> None:
        self._open.clear()


class ShardWriter:
    """Collects tensors and writes them as shards of a folder, each whole or not at all."""

    def __init__(self, shards: Shards, shard_bytes: int = SHARD_BYTES) -> None:
        self._shards = shards
        self._shard_bytes = shard_bytes
        self._waiting: dict[str, Tensor] = {}
        self._bytes = 0

    def __contains__(self, name: object) -> bool:
        return name in self._waiting or name in self._shards

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Keeps tensors under their names; writes a shard where enough have come together."""
        for name, tensor in tensors.items():
            self._waiting[name] = tensor.detach().to("cpu").contiguous()
            self._bytes += tensor.numel() * tensor.element_size()
        if self._bytes >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Writes what waits. Raises OSError where the disk does not take it."""
        if not self._waiting:
            return
        names = sorted(self._waiting)
        path = self._shards.folder / f"{key_of(*names)}{SUFFIX}"
        write_whole(path, save({name: self._waiting[name] for name in names}))
        self._shards.add(path)
        self._waiting, self._bytes = {}, 0
