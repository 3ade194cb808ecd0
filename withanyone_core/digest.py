"""SHA-256 of large files, with a progress bar for people who wait."""

from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

CHUNK = 8 * 2**20
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
