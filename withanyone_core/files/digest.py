"""Distinguishing files by their content: SHA-256 of large files, and a stamp that costs no time."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

CHUNK = 8 * 2**20
SAMPLES, SAMPLE_BYTES = 32, 4096
SHOWN_FROM = 256 * 2**20  # bytes; a smaller file is done before a bar is read


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file of any size."""
    total = path.stat().st_size
    digest = sha256()
    # None: no bar where the errors do not go to a terminal.
    hidden = True if total < SHOWN_FROM else None
    with (
        path.open("rb") as stream,
        tqdm(total=total, unit="B", unit_scale=True, desc=f"hash {path.name}", leave=False, disable=hidden) as bar,
    ):
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def file_stamp(path: Path) -> str:
    """Distinguishes a file's content from what lay there before or later, without reading all of it.

    Size, the times of its last change, and samples from all over the file: a file that was put in its place has another
    stamp, and so has one whose bytes were written over, even with its date set back.
    """
    state = path.stat()
    digest = sha256(f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}".encode())
    with path.open("rb") as stream:
        for sample in range(SAMPLES):
            stream.seek(state.st_size * sample // SAMPLES)
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def files_stamp(paths: Iterable[Path]) -> str:
    """One stamp for several files and their names."""
    stamps = sorted(f"{file_stamp(path)} {path.name}" for path in paths)
    return sha256("\n".join(stamps).encode()).hexdigest()
