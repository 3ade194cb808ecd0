"""antelopev2 through insightface's own downloader, into a folder beside its place, renamed when it is whole."""

import shutil
from pathlib import Path
from zipfile import BadZipFile

from ..faces.analysis import onnx_folder
from ..faces.installation import how_to_install
from ..files.digest import file_sha256
from .hub import DownloadError
from .published import FACE_PACK, FACE_PACK_SHA256


def pack_folders(roots: list[Path]) -> list[Path]:
    """Where the pack may lie under ComfyUI's insightface folders, the place for a new one first."""
    return [root / "models" / FACE_PACK for root in roots]


def pack_fault(folder: Path) -> str | None:
    """What is wrong with a pack, or None: both needed files are there and are the published ones."""
    try:
        place = onnx_folder(folder)
    except FileNotFoundError:
        return "it holds no .onnx file"
    for name, expected in FACE_PACK_SHA256.items():
        if not (place / name).is_file():
            return f"{name} is missing"
        if file_sha256(place / name) != expected:
            return f"{name} is not the published file (another SHA-256)"
    return None


def fetch_pack(folder: Path) -> None:
    """Downloads and unpacks the pack into `folder`, as deep as its zip has it.

    insightface takes any folder for a complete pack, so it is given a temporary one: what was cut off is never found by
    the next run. Raises DownloadError where the download fails or is not the published pack.
    """
    try:
        from insightface.utils.storage import download
    except ImportError as error:
        raise DownloadError(f"insightface cannot be used: {error}. {how_to_install()}") from error
    beside = folder.parent / f"{FACE_PACK}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        unpacked = Path(download("models", FACE_PACK, force=True, root=str(beside)))
        fault = pack_fault(unpacked)
        if fault:
            raise DownloadError(f"{FACE_PACK} did not arrive as published: {fault}. It was removed; run this again.")
        if folder.is_dir():
            folder.rmdir()  # an empty one; Windows renames onto nothing
        unpacked.rename(folder)
    except DownloadError:
        raise
    # insightface raises RuntimeError for any answer but 200, requests' own for a broken connection.
    except (RuntimeError, OSError, BadZipFile) as error:
        raise DownloadError(f"insightface could not download {FACE_PACK}: {error}. Run this again.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
