"""The files of a cache.

cache.json                 format, fingerprints, names of the two files below; replacing it is the moment a new
                           cache takes the place of an old one
index-XXXXXXXX.jsonl       one line an image, then one a face
bank-XXXXXXXX.safetensors  arcface, second, negatives.vectors, negatives.identities
shards/*.safetensors       latents, texts, SigLIP tokens and found faces, named by content
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from .cache import Cache
from .entries import FIRST_BASE, FIRST_TEXTS, CropEntry, CropFace, FaceRecord, ImageEntry, Negatives
from .shards import PARTIAL, SUFFIX, Shards, write_whole

FORMAT = "withanyone-cache/1"
HEADER, SHARDS = "cache.json", "shards"


@dataclass(frozen=True)
class Header:
    """What cache.json says.

    index, bank   names of the files that belong to it
    fingerprints  of the models and settings, by kind
    files         the model files behind them: name to SHA-256
    text_encoders  where they were, for texts that are wanted later
    base, texts   the base model that latents and texts are for, and the names of a text's tensors
    """

    index: str
    bank: str
    identities: tuple[str, ...]
    dummies: tuple[str, ...]
    fingerprints: Mapping[str, str]
    files: Mapping[str, str]
    data: str
    format: str = FORMAT
    text_encoders: Mapping[str, str] = field(default_factory=dict)
    base: str = FIRST_BASE
    texts: tuple[str, ...] = FIRST_TEXTS


def read_header(folder: Path) -> Header | None:
    """What cache.json of a folder says, None where there is none. Raises ValueError for one that cannot be read."""
    path = folder / HEADER
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        if values.get("format") != FORMAT:
            raise ValueError(f"its format is {values.get('format')!r}, expected {FORMAT!r}")
        for name in {"identities", "dummies", *({"texts"} & values.keys())}:
            values[name] = tuple(values[name])
        return Header(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is no cache header of this program: {error}. Delete {folder} and prepare it again."
        ) from error


def read_cache(folder: Path) -> Cache:
    """The cache of a folder. Raises FileNotFoundError where there is none, ValueError for one that cannot be used."""
    header = read_header(folder)
    if header is None:
        raise FileNotFoundError(
            f"{folder} holds no finished cache ({HEADER} is missing). Run prepare.py with this folder as `cache`; if "
            "it was interrupted, the same command resumes where it stopped."
        )
    try:
        lines = [json.loads(line) for line in (folder / header.index).read_text(encoding="utf-8-sig").splitlines()]
        bank = load_file(folder / header.bank)
        return Cache(
            identities=header.identities,
            images=tuple(_image(line["image"]) for line in lines if "image" in line),
            faces=tuple(_face(line["face"]) for line in lines if "face" in line),
            arcface=bank["arcface"],
            second=bank.get("second"),
            negatives=Negatives(bank["negatives.vectors"], bank["negatives.identities"]),
            dummies=header.dummies,
            tensors=Shards(folder / SHARDS),
            fingerprints=header.fingerprints,
            data=header.data,
            files=header.files,
            text_encoders=header.text_encoders,
            base=header.base,
            texts=header.texts,
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The cache {folder} is damaged ({type(error).__name__}: {error}). Run prepare.py again; it makes only "
            "what is missing."
        ) from error


def write_cache(folder: Path, cache: Cache) -> None:
    """Makes `cache` the cache of a folder whose shards hold its tensors already.

    Raises OSError; the previous cache then stays.
    """
    lines = [{"image": asdict(image)} for image in cache.images] + [{"face": asdict(face)} for face in cache.faces]
    index = "".join(json.dumps(line, default=_plain) + "\n" for line in lines).encode()
    arrays = {
        "arcface": cache.arcface,
        "negatives.vectors": cache.negatives.embeddings,
        "negatives.identities": cache.negatives.identities,
    }
    if cache.second is not None:
        arrays["second"] = cache.second
    bank = save({name: array.contiguous() for name, array in arrays.items()})
    header = Header(
        index=f"index-{sha256(index).hexdigest()[:8]}.jsonl",
        bank=f"bank-{sha256(bank).hexdigest()[:8]}{SUFFIX}",
        identities=cache.identities,
        dummies=cache.dummies,
        fingerprints=dict(cache.fingerprints),
        files=dict(cache.files),
        data=cache.data,
        text_encoders=dict(cache.text_encoders),
        base=cache.base,
        texts=cache.texts,
    )
    write_whole(folder / header.index, index)
    write_whole(folder / header.bank, bank)
    write_whole(folder / HEADER, (json.dumps(asdict(header), indent=2) + "\n").encode())
    _remove_others(folder, header)


def remove_partial_files(folder: Path) -> None:
    """Deletes what a run that was killed in the middle of writing has left."""
    for place in (folder, folder / SHARDS):
        for path in place.glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)


def remove_unused_shards(folder: Path, used: Iterable[str]) -> None:
    """Deletes the shards of which no tensor is in use any more."""
    shards = Shards(folder / SHARDS)
    kept = {shards.file_of(name) for name in used if name in shards}
    for path in (folder / SHARDS).glob(f"*{SUFFIX}"):
        if path not in kept:
            path.unlink()


def _remove_others(folder: Path, header: Header) -> None:
    for pattern in ("index-*.jsonl", f"bank-*{SUFFIX}"):
        for path in folder.glob(pattern):
            if path.name not in (header.index, header.bank):
                path.unlink()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _image(values: dict[str, Any]) -> ImageEntry:
    crops = tuple(
        CropEntry(**{**crop, "faces": tuple(CropFace(**_points(face)) for face in crop["faces"])})
        for crop in values["crops"]
    )
    return ImageEntry(**{**values, "crops": crops})


def _face(values: dict[str, Any]) -> FaceRecord:
    # Caches made before there were jittered crops have none.
    words = {"flags": tuple(values["flags"]), "jittered": tuple(values.get("jittered", ()))}
    return FaceRecord(**{**_points(values), **words})


def _points(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "box": tuple(values["box"]), "landmarks": np.array(values["landmarks"], np.float32)}
