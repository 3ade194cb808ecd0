"""MultiID-2M as it was published: tars of photos with their descriptions, and reference photos by identity.

    train_cp/*.tar, train_rec/*.tar     per key KEY.jpg, KEY.json, KEY.npy; photos of several people
    ref/IDENTITY/*.jpg                  reference photos, or ref/tars/*.tar with the same
    ref/cluster_centers.tar             IDENTITY.npy: a mean embedding, used where an identity has no reference photos

Tars are read through once, by several processes, and photos later from where they lie in them. Faces are detected
again, for the files hold no landmarks; the names in them only say who may be in a photo.
"""

import json
import logging
import multiprocessing
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from withanyone_core.files.unicode import one_form

from .folder import SUFFIXES
from .sources import Kind, Location, Source
from .unpickling import read_npy

logger = logging.getLogger("withanyone")

PARTS = ("train_cp", "train_rec")
REFERENCES, CENTRES = "ref", "cluster_centers.tar"
NAME_KEYS = ("names", "name")


def is_multiid(data: Path) -> bool:
    """Whether a folder has one of the published parts."""
    return any((data / part).is_dir() for part in PARTS)


def multiid_sources(data: Path, processes: int, limit: int = 0) -> tuple[Source, ...]:
    """Every photo of the data set, references first.

    limit  only so many photos of each part; 0: all
    Raises FileNotFoundError without the folder, ValueError where it holds no photos.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"There is no data folder {data}.")
    references = [
        *_reference_files(data),
        *_from_tars(sorted((data / REFERENCES / "tars").glob("*.tar")), data, processes),
    ]
    found: list[Source] = []
    for part in PARTS:
        photos = _from_tars(sorted((data / part).glob("*.tar")), data, processes)
        found += photos[: limit or None]
    if not found and not references:
        raise ValueError(f"No photos were found in the tars of {', '.join(str(data / part) for part in PARTS)}.")
    wanted = {name for source in found for name in source.names}
    return (*(source for source in references if not limit or source.person in wanted), *found)


def centres_of(data: Path, sources: Sequence[Source]) -> Mapping[str, np.ndarray] | None:
    """Unit embeddings of the identities that photos name and that have no reference photos; None for plain folders."""
    if not is_multiid(data):
        return None
    path = data / REFERENCES / CENTRES
    have = {source.person for source in sources if source.person}
    wanted = {name for source in sources for name in source.names if name} - have
    if not path.is_file() or not wanted:
        return {}
    found = {}
    for member, read in _members(path):
        name = PurePosixPath(member.name)
        if name.suffix == ".npy" and one_form(name.stem) in wanted:
            embedding = np.asarray(read_npy(read(), f"{path.name}/{name}"), np.float64).reshape(-1)
            found[one_form(name.stem)] = (embedding / max(float(np.linalg.norm(embedding)), 1e-12)).astype(np.float32)
    return found


def tar_sources(path: Path, data: Path) -> list[Source]:
    """The photos of one tar, in its order. A tar that is cut off gives those before the cut."""
    photos: dict[PurePosixPath, tuple[int, int]] = {}
    described: dict[PurePosixPath, dict[str, Any]] = {}
    for member, read in _members(path):
        name = PurePosixPath(member.name)
        if name.suffix.lower() in SUFFIXES:
            photos[name.with_suffix("")] = (member.offset_data, member.size)
        elif name.suffix == ".json":
            described[name.with_suffix("")] = _description(read(), f"{path}/{name}")
    kind: Kind = "identity" if REFERENCES in path.relative_to(data).parts else "group"
    below = path.relative_to(data).with_suffix("").as_posix()
    return [
        _source(
            f"{below}/{key}",
            kind,
            Location(path, *place),
            _person(key, path) if kind == "identity" else None,
            described.get(key, {}),
        )
        for key, place in photos.items()
    ]


def _from_tars(paths: Sequence[Path], data: Path, processes: int) -> list[Source]:
    if len(paths) < 2 or processes < 2:
        found = [tar_sources(path, data) for path in paths]
    else:
        # Spawned, not forked: the parent may have started threads of the models by now.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(paths)), mp_context=context) as pool:
            found = list(pool.map(tar_sources, paths, [data] * len(paths)))
    return [source for sources in found for source in sources]


def _reference_files(data: Path) -> Iterator[Source]:
    for folder in sorted(path for path in (data / REFERENCES).glob("*") if path.is_dir() and path.name != "tars"):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                described = path.with_suffix(".json")
                values = _description(described.read_bytes(), str(described)) if described.is_file() else {}
                yield _source(
                    path.relative_to(data).as_posix(), "identity", Location(path), one_form(folder.name), values
                )


def _source(name: str, kind: Kind, location: Location, person: str | None, values: Mapping[str, Any]) -> Source:
    caption = values.get("caption_en")
    caption = " ".join(caption.split()) if isinstance(caption, str) and caption.strip() else None
    return Source(name, kind, location, person, () if kind == "identity" else _names(values), caption=caption)


def _names(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The identities a photo names: the published files have `names` or `name`, one or a list, or nothing."""
    for key in NAME_KEYS:
        given = values.get(key)
        listed = given if isinstance(given, list) else [] if given in (None, "", "none") else [given]
        names = [
            one_form(str(name)) for name in listed if isinstance(name, (str, int)) and str(name) not in ("", "none")
        ]
        if names:
            return tuple(dict.fromkeys(names))
    return ()


def _description(content: bytes, label: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError as error:
        logger.warning("%s is no JSON (%s); its photo is used without names and caption.", label, error)
        return {}
    return values if isinstance(values, dict) else {}


def _person(key: PurePosixPath, path: Path) -> str:
    """The identity of a reference photo: its folder in the tar, or the tar's name where it has none."""
    return one_form(key.parent.name or path.stem)


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], bytes]]]:
    """The files in a tar, each with a function that reads it before the next one is asked for.

    What cannot be read ends it, with a warning.
    """
    with tarfile.open(path, "r:") as archive:
        size = path.stat().st_size
        try:
            for member in archive:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member, content.read
            if size % tarfile.BLOCKSIZE:  # tarfile takes half a header for the end
                raise tarfile.ReadError("a part of a block at its end")
        except tarfile.ReadError as error:
            logger.warning("%s ends too early (%s); what comes before is used. Download it again.", path, error)
