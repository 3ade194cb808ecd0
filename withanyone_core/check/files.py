"""One file or folder at a time: what it is, its size, hash, types and header."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open

from ..download.published import published_name
from ..file_kinds.gguf import read_gguf
from ..file_kinds.header import Header, named, read_safetensors
from ..file_kinds.kinds import Json, Kind, recognize_lora
from ..file_kinds.naming import recognize_model
from ..files.digest import file_sha256
from ..files.first_bytes import GGUF_MAGIC, PICKLE, PICKLES, SAFETENSORS, no_model, read_start
from ..files.tensors import is_finite
from .adapters import recognize_adapter, recognize_identity
from .faces import is_pack, recognize_onnx, recognize_pack

MODELS = (*SAFETENSORS, *PICKLES, ".gguf", ".onnx")


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
        pack, kinds = recognize_pack(path)
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
    kind, header = _recognize(path)
    if values and kind.faults == () and header.tensors and path.suffix.lower() in SAFETENSORS:
        kind = _with_values(path, kind)
    return _finding(path, kind, header, hashes)


def _finding(path: Path, kind: Kind, header: Header, hashes: bool) -> Finding:
    digest = file_sha256(path) if hashes else None
    return Finding(path, kind, path.stat().st_size, digest, published_name(digest) if digest else None, header)


def _recognize(path: Path) -> tuple[Kind, Header]:
    suffix = path.suffix.lower()
    instead = no_model(path) or (PICKLE if suffix in PICKLES else None)
    if instead is not None:
        return _unknown(instead.name, instead.fault), Header({})
    if suffix == ".onnx":
        return recognize_onnx(path), Header({})
    try:
        header = read_gguf(path) if read_start(path).startswith(GGUF_MAGIC) else read_safetensors(path)
    except ValueError as error:
        return _unknown("unknown file", f"It is {error}."), Header({})
    return _by_header(header, path), header


def _by_header(header: Header, path: Path) -> Kind:
    if not header.tensors:
        return _unknown("file without tensors", "It holds no tensors.")
    # LoRAs name the parts they change, checkpoints contain encoders: the narrower question comes first.
    for kind in (
        recognize_identity(header, path),
        recognize_lora(header),
        recognize_adapter(header, path),
        recognize_model(header),
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
            if not is_finite(numbers):
                bad[key] = f"{int(numbers.isnan().sum())} NaN, {int(numbers.isinf().sum())} infinite"
    fault = f"{len(bad)} tensors hold NaN or infinite values: {named(bad)}. The file is damaged or its training failed."
    return Kind(kind.name, kind.fits, {**kind.facts, "bad values": bad or "none"}, (fault,) if bad else ())
