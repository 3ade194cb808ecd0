"""Identities on disk: one safetensors file a person, written whole or not at all and read with every number checked.

Tensors: `arcface` [512], `arcface_all` [photos, 512], `siglip` [patches, width], `crop` uint8 [512, 512, 3],
`learned.arc` and `learned.sig` [tokens, hidden]; only `arcface` and `crop` must be there. A digest over tensors and
metadata distinguishes a damaged file from a sound one: a flipped bit in a face embedding is a plausible face embedding.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from ..faces.analysis import EMBEDDING_SIZE
from ..faces.crop import SIDE_PX
from ..file_kinds.header import Header, read_safetensors
from ..file_kinds.naming import IDENTITY, is_adapter, what_it_is
from ..files.first_bytes import SAFETENSORS, no_safetensors
from ..files.tensors import is_finite
from ..identity import Identity, LearnedTokens
from ..version import VERSION

KIND = IDENTITY
FORMAT = f"{KIND}/1"
SUFFIXES = SAFETENSORS
LONGEST_NAME_BYTES = 255
LARGEST_BYTES = 256 * 2**20  # two hundred times an ordinary one: whatever is larger is another kind of file

_FLOATS = ("F32", "F16", "BF16")
# Expected sizes; 0 is any size but none.
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "arcface": (EMBEDDING_SIZE,),
    "arcface_all": (0, EMBEDDING_SIZE),
    "siglip": (0, 0),
    "crop": (SIDE_PX, SIDE_PX, 3),
    "learned.arc": (0, 0),
    "learned.sig": (0, 0),
}
_NEEDED = ("arcface", "crop")
_DIGEST = "sha256"
_LEARNED = ("adapter", "adapter_name", "recognizer")  # metadata of identities with learned tokens


class IdentityFileError(ValueError):
    """A file that is not a usable identity; the message says why and what to do."""


@dataclass(frozen=True)
class IdentityFile:
    """What an identity file says of itself.

    shapes   sizes of its tensors by name
    adapter  fingerprint of the adapter its learned tokens belong to, and that adapter's file; empty without such tokens
    recognizer  SHA-256 of the recognizer whose embeddings those tokens were trained towards; empty where unknown
    digest   SHA-256 over everything it holds, as written in the file; `load_identity` compares it
    """

    path: Path
    name: str
    face_model: str
    made_from: str
    created: str
    software: str
    shapes: Mapping[str, tuple[int, ...]]
    adapter: str
    adapter_name: str
    recognizer: str
    digest: str


def save_identity(identity: Identity, path: Path) -> None:
    """Writes the identity to a temporary name beside `path` and renames it when it is complete.

    Raises FileExistsError where there is such a file already, IdentityFileError for numbers no identity may have.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise IdentityFileError(f"{path.name}: identities are saved as .safetensors files only.")
    if len(os.fsencode(_part_of(path).name)) > LONGEST_NAME_BYTES:
        raise IdentityFileError(
            f"The file name {path.name[:20]}... has {len(path.name)} letters, more than a disk can take. Choose a "
            "shorter one; the person's name in the file may be of any length."
        )
    if path.exists():
        raise FileExistsError(f"{path} is already there, and identities are never overwritten. Choose another name.")
    _write_whole(path, safetensors.torch.save(*file_content(identity)))


def file_content(identity: Identity) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of the identity's file. Raises IdentityFileError for numbers no identity may have."""
    tensors = _tensors(identity)
    _check_values(f"The identity of {identity.name}", tensors, "make the identity again from another photo")
    metadata = _metadata(identity)
    return tensors, metadata | {_DIGEST: _digest(tensors, metadata)}


def inspect_identity(path: Path) -> IdentityFile:
    """Reads the header of an identity file and checks its tensors' names, types and shapes, but not their values.

    Raises IdentityFileError for anything that is not such a file and FileNotFoundError where there is none.
    """
    metadata, shapes = _read_header(Path(path))
    return _described(Path(path), metadata, shapes)


def load_identity(path: Path) -> Identity:
    """The identity exactly as it was saved. Raises as `inspect_identity` does, and for damaged values."""
    path = Path(path)
    metadata, shapes = _read_header(path)
    with safe_open(path, framework="pt") as reader:
        tensors = {name: reader.get_tensor(name).clone() for name in shapes}
    if _digest(tensors, metadata) != metadata[_DIGEST]:
        raise IdentityFileError(
            f"{path.name} is damaged: its numbers or its description are not those that were saved. "
            "Copy the file again, or make the identity again from its photos."
        )
    _check_values(path.name, tensors, "make the identity again from its photos")
    return _identity(_described(path, metadata, shapes), tensors)


def _identity(file: IdentityFile, tensors: Mapping[str, Tensor]) -> Identity:
    def numbers(name: str) -> Tensor | None:
        return tensors[name].to(torch.float32) if name in tensors else None

    learned = LearnedTokens(
        file.adapter, tensors.get("learned.arc"), tensors.get("learned.sig"), file.adapter_name, file.recognizer
    )
    return Identity(
        name=file.name,
        arcface=tensors["arcface"].to(torch.float32),
        siglip=numbers("siglip"),
        crop=tensors["crop"].to(torch.float32) / 255.0,
        face_model=file.face_model,
        made_from=file.made_from,
        embeddings=numbers("arcface_all"),
        learned=None if learned.arc is None and learned.sig is None else learned,
    )


def _tensors(identity: Identity) -> dict[str, Tensor]:
    learned = identity.learned or LearnedTokens("")
    given = {
        "arcface": identity.arcface,
        "arcface_all": identity.embeddings,
        "siglip": identity.siglip,
    }
    tensors = {name: tensor.float() for name, tensor in given.items() if tensor is not None}
    # Learned tokens stay in their type: twice as wide they would be the largest part of the file.
    tensors |= {
        name: tensor
        for name, tensor in (("learned.arc", learned.arc), ("learned.sig", learned.sig))
        if tensor is not None
    }
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    crop = identity.crop.detach().to("cpu", torch.float32)
    if not crop.isfinite().all():
        raise IdentityFileError(f"The crop of {identity.name} holds NaN or infinite values; make the identity again.")
    tensors["crop"] = (crop * 255.0).round().clamp(0, 255).to(torch.uint8).contiguous()
    return tensors


def _metadata(identity: Identity) -> dict[str, str]:
    metadata = {
        "format": FORMAT,
        "name": identity.name,
        "face_model": identity.face_model,
        "made_from": identity.made_from,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software": f"withanyone {VERSION}",
    }
    if (learned := identity.learned) is None:
        return metadata
    return metadata | dict(zip(_LEARNED, (learned.adapter, learned.adapter_name, learned.recognizer), strict=True))


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors and over the metadata beside the digest itself."""
    described = {key: value for key, value in metadata.items() if key != _DIGEST}
    total = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _part_of(path: Path) -> Path:
    """Where a file is written before it is complete."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def _read_header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Metadata and tensor shapes of a file whose names, types and shapes are those of an identity."""
    _refuse_other_files(path)
    try:
        header = read_safetensors(path)
    except ValueError as error:
        raise IdentityFileError(f"{path.name} is {error}.") from error
    _check_kind(path, header)
    _check_tensors(path.name, header)
    return dict(header.metadata), {name: info.shape for name, info in header.tensors.items()}


def _refuse_other_files(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"There is no identity file at {path}.")
    if path.suffix not in SUFFIXES:
        raise IdentityFileError(
            f"{path.name}: identities are read from .safetensors files only (other formats can run code when opened)."
        )
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise IdentityFileError(
            f"{path.name} has {size / 2**20:.0f} MB; an identity has about 2. Choose a file made by Save Identity."
        )
    reason = no_safetensors(path)
    if reason:
        raise IdentityFileError(f"{path.name} {reason} Identities are files made by Save Identity.")


def _check_kind(path: Path, header: Header) -> None:
    stated = header.metadata.get("format", "")
    if stated == FORMAT:
        if _DIGEST not in header.metadata:
            raise IdentityFileError(f"{path.name} carries no checksum; choose a file made by Save Identity.")
        return
    if stated.startswith(f"{KIND}/"):
        raise IdentityFileError(
            f"{path.name} is an identity in the form {stated}; this version reads {FORMAT}. Update WithAnyone."
        )
    if is_adapter(header):
        raise IdentityFileError(
            f"{path.name} is a WithAnyone adapter, not an identity. It belongs into models/withanyone and is chosen "
            "in Load WithAnyone Adapter."
        )
    some = ", ".join(sorted(header.tensors)[:4]) or "nothing"
    raise IdentityFileError(
        f"{path.name} is not an identity: its header does not say {FORMAT} (it holds {some})."
        f"{what_it_is(header)} Choose a file made by Save Identity."
    )


def _check_tensors(label: str, header: Header) -> None:
    missing = [name for name in _NEEDED if name not in header.tensors]
    unknown = sorted(name for name in header.tensors if name not in _SHAPES)
    wrong = [_shape_fault(name, info.shape) for name, info in header.tensors.items() if name in _SHAPES]
    wrong += [
        f"{name} is {info.dtype}, expected {'U8' if name == 'crop' else ' or '.join(_FLOATS)}"
        for name, info in header.tensors.items()
        if name in _SHAPES and info.dtype not in (("U8",) if name == "crop" else _FLOATS)
    ]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    faults += [f"unknown: {', '.join(unknown[:4])}"] if unknown else []
    faults += [fault for fault in wrong if fault]
    if faults:
        raise IdentityFileError(
            f"{label} is not a complete identity; {'; '.join(faults)}. Make the identity again and save it."
        )


def _shape_fault(name: str, shape: tuple[int, ...]) -> str:
    expected = _SHAPES[name]
    fits = len(shape) == len(expected) and all(
        size > 0 and expected_size in (0, size) for size, expected_size in zip(shape, expected, strict=True)
    )
    words = ", ".join("n" if size == 0 else str(size) for size in expected)
    return "" if fits else f"{name} has shape {list(shape)}, expected [{words}]"


def _check_values(label: str, tensors: Mapping[str, Tensor], advice: str) -> None:
    """IdentityFileError for wrong shapes, numbers that are not finite and a face embedding of nothing but zeros."""
    faults = [_shape_fault(name, tuple(tensor.shape)) for name, tensor in tensors.items()]
    faults += [f"{name} holds NaN or infinite values" for name, tensor in tensors.items() if not _is_finite(tensor)]
    if not tensors["arcface"].any():
        faults.append("arcface is all zeros")
    faults = [fault for fault in faults if fault]
    if faults:
        raise IdentityFileError(f"{label} cannot be used: {'; '.join(faults)}. To repair it, {advice}.")


def _is_finite(tensor: Tensor) -> bool:
    return is_finite(tensor) if tensor.is_floating_point() else True


def _described(path: Path, metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> IdentityFile:
    return IdentityFile(
        path=path,
        name=metadata.get("name", ""),
        face_model=metadata.get("face_model", ""),
        made_from=metadata.get("made_from", ""),
        created=metadata.get("created", ""),
        software=metadata.get("software", ""),
        shapes=shapes,
        **{name: metadata.get(name, "") for name in _LEARNED},
        digest=metadata.get(_DIGEST, ""),
    )
