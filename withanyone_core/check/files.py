"""One file or folder at a time: what it is, its size, hash, types and header."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open

from ..adapter.checkpoint import named
from ..digest import file_sha256
from ..published import published_name
from . import gguf
from .adapters import recognise_adapter, recognise_identity
from .faces import is_pack, recognise_onnx, recognise_pack
from .flux import recognise_flux
from .header import Header, read_safetensors
from .kinds import (
    Json,
    Kind,
    recognise_clip_text,
    recognise_lora,
    recognise_t5,
    recognise_vae,
)
from .towers import recognise_tower

SAFETENSORS = (".safetensors", ".sft")
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pt2")
MODELS = (*SAFETENSORS, *PICKLES, ".gguf", ".onnx")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml", b'{"error')
_POINTER_START = b"version https://git-lfs"


@dataclass(frozen=True)
class Finding:
    """Everything said of one file or folder.

    size       bytes; None for a folder
    sha256     hexadecimal; None where it was not asked for
    published  what a file of this hash is published as, where that is known
    """

    path: Path
    kind: Kind
    size: int | None = None
    sha256: str | None = None
    published: str | None = None
    header: Header = field(default_factory=lambda: Header({}))

    @property
    def is_sound(self) -> bool:
        return not self.kind.faults


def examine(path: Path, hashes: bool = True, values: bool = False) -> Iterator[Finding]:
    """Findings for a file, for a face pack and each of its files, or for every model file under a folder.

    hashes  whether to read whole files for their SHA-256
    values  whether to read every tensor and count NaN and infinite values
    """
    if path.is_file():
        yield _file(path, hashes, values)
    elif not path.is_dir():
        yield Finding(path, _unknown("nothing", "There is no such file or folder."))
    elif is_pack(path):
        pack, kinds = recognise_pack(path)
        yield Finding(path, pack)
        for file, kind in kinds.items():
            yield _finding(file, kind, Header({}), hashes)
    else:
        yield from _folder(path, hashes, values)


def _folder(path: Path, hashes: bool, values: bool) -> Iterator[Finding]:
    entries = sorted(path.iterdir())
    chosen = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() in MODELS]
    if not chosen:
        yield Finding(path, _unknown("folder", f"There is no model file in it ({', '.join(MODELS)})."))
    for entry in chosen:
        # An empty folder inside a folder is nothing to complain about.
        if entry.is_file() or any(file.suffix.lower() in MODELS for file in entry.rglob("*")):
            yield from examine(entry, hashes, values)


def _file(path: Path, hashes: bool, values: bool) -> Finding:
    kind, header = _recognise(path)
    if values and kind.faults == () and header.tensors and path.suffix.lower() in SAFETENSORS:
        kind = _with_values(path, kind)
    return _finding(path, kind, header, hashes)


def _finding(path: Path, kind: Kind, header: Header, hashes: bool) -> Finding:
    digest = file_sha256(path) if hashes else None
    return Finding(path, kind, path.stat().st_size, digest, published_name(digest) if digest else None, header)


def _recognise(path: Path) -> tuple[Kind, Header]:
    with path.open("rb") as stream:
        start = stream.read(64)
    suffix = path.suffix.lower()
    if not start:
        return _unknown("empty file", "The file is empty; fetch it again."), Header({})
    if start.startswith(_POINTER_START):
        return _unknown("git-LFS pointer", "This is the pointer of a file, not the file; run `git lfs pull`."), Header(
            {}
        )
    if start.lstrip().lower().startswith(_PAGE_STARTS):
        return _unknown("web page", "A web page was saved in its place; the site asks for a login."), Header({})
    if suffix == ".onnx":
        return recognise_onnx(path), Header({})
    # The first bytes of a safetensors file are a length and can be any; its ninth opens the header.
    if suffix in PICKLES or (start.startswith(_PICKLE_STARTS) and start[8:9] != b"{"):
        fault = "It can run code when opened, so it was not opened. Use the .safetensors file of the same model."
        return _unknown("pickle (not opened)", fault), Header({})
    try:
        header = gguf.read_gguf(path) if start.startswith(gguf.MAGIC) else read_safetensors(path)
    except ValueError as error:
        return _unknown("unknown file", f"It is {error}."), Header({})
    return _by_header(header, path), header


def _by_header(header: Header, path: Path) -> Kind:
    if not header.tensors:
        return _unknown("file without tensors", "It holds no tensors.")
    # LoRAs name the parts they change, checkpoints contain encoders: the narrower question comes first.
    for kind in (
        recognise_identity(header, path),
        recognise_lora(header),
        recognise_adapter(header, path),
        recognise_flux(header),
        recognise_tower(header),
        recognise_clip_text(header),
        recognise_t5(header),
        recognise_vae(header),
    ):
        if kind is not None:
            return kind
    return _unknown("unknown tensors", f"Nothing WithAnyone knows; keys begin with {named(sorted(header.tensors))}.")


def _unknown(name: str, fault: str) -> Kind:
    return Kind(name, "nothing", faults=(fault,))


def _with_values(path: Path, kind: Kind) -> Kind:
    """Counts NaN and infinite values, one tensor at a time."""
    bad: dict[str, Json] = {}
    with safe_open(path, framework="pt") as reader:
        for key in reader.keys():  # noqa: SIM118 - not a mapping
            tensor = reader.get_tensor(key)
            if not tensor.is_floating_point():
                continue
            numbers = tensor.to(torch.float32) if tensor.element_size() == 1 else tensor
            nan, infinite = int(numbers.isnan().sum()), int(numbers.isinf().sum())
            if nan or infinite:
                bad[key] = f"{nan} NaN, {infinite} infinite"
    fault = f"{len(bad)} tensors hold NaN or infinite values: {named(bad)}. The file is damaged or its training failed."
    return Kind(kind.name, kind.fits, {**kind.facts, "bad values": bad or "none"}, (fault,) if bad else ())
