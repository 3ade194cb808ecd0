"""The run's folder while a run uses it: locked, writable, with free space, and without leftovers of a killed run."""

import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..configuration.finetune import Finetune
from .checkpoints import PARTIAL, PREFIX, checkpoints

if os.name == "nt":
    import msvcrt
else:
    import fcntl

LOGGER = logging.getLogger("withanyone")
LOCK = "run.lock"
_FAR = 2**30  # Windows locks bytes, which nobody else can read then: one beyond the text
# A checkpoint holds at least the adapter in its own type and its trained numbers in float32, which is twice bf16.
_FULL_CHECKPOINT = 3


@contextmanager
def claimed(settings: Finetune) -> Iterator[None]:
    """Inside, the run's folder is this process's; unfinished files of an earlier one are removed.

    To be entered before any model is loaded, by the main process alone.

    Raises RuntimeError where another run is in it, OSError where it cannot be written or has no space for a checkpoint.
    """
    run = settings.out
    try:
        run.mkdir(parents=True, exist_ok=True)
        # Not truncated: until the lock is taken, the text says whose the folder is.
        stream = (run / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"The run's folder {run} cannot be written ({error.strerror}). Name another (out=...), or make it writable."
        ) from error
    with stream:
        _take(stream, run)
        try:
            _sweep(run)
            _check_space(settings)
            yield
        finally:
            stream.truncate(0)  # an empty lock is free on every machine; the file stays, as another may wait at it


def _take(stream: TextIO, run: Path) -> None:
    stream.seek(0)
    text = stream.read()
    try:
        holder = json.loads(text) if text else {}
    except ValueError:
        holder = {}  # its run was killed while it wrote it
    host = socket.gethostname()
    # Locks need not reach over a network, so the name of another machine in the file counts as one.
    is_elsewhere = holder.get("host", host) != host
    if is_elsewhere or not _locked(stream):
        ended = f"If that one has ended, delete {run / LOCK}. " if is_elsewhere else ""
        raise RuntimeError(
            f"Another run is in {run}: process {holder.get('pid', '?')} on {holder.get('host', 'this machine')}. Two "
            f"runs in one folder would mix their checkpoints. {ended}Wait for it, or name another folder (out=...)."
        )
    stream.truncate(0)
    stream.write(json.dumps({"pid": os.getpid(), "host": host}))
    stream.flush()


def _locked(stream: TextIO) -> bool:
    """Whether the file could be locked for this process; the system frees it when the process ends, however."""
    try:
        if os.name == "nt":
            stream.seek(_FAR)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks
    return True


def _sweep(run: Path) -> None:
    """Removes checkpoints and results that an earlier run had not finished, or not finished deleting."""
    left = [*run.glob(f"{PREFIX}*{PARTIAL}"), *run.glob(f"*{PARTIAL}.safetensors"), *run.glob("*.part")]
    for path in left:
        size = _bytes(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        LOGGER.info("Removed %s, which an earlier run had not finished (%.2f GiB).", path.name, size / 2**30)


def _check_space(settings: Finetune) -> None:
    """OSError where not even one more checkpoint has space."""
    needed, free = _checkpoint_bytes(settings), shutil.disk_usage(settings.out).free
    if free < needed:
        raise OSError(
            f"A checkpoint of this run needs {needed / 2**30:.2f} GiB, and {free / 2**30:.2f} GiB are free for "
            f"{settings.out}. Free some space, or name a folder on another disk (out=...)."
        )


def _checkpoint_bytes(settings: Finetune) -> int:
    """What the run's latest checkpoint takes; before there is one, what a new one takes at least."""
    kept = checkpoints(settings.out)
    if kept:
        return _bytes(kept[-1])
    init = settings.adapter.init
    if settings.train.mode != "full" or init is None or not init.is_file():
        return 0
    return _FULL_CHECKPOINT * init.stat().st_size


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
