"""Adapter files: what is in them, whether all of it is sound, and reading a part at a time.

The header alone tells branches and sizes; tensors are read when their part is needed, so a branch that is switched off
costs neither disk nor memory.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..file_kinds.flux import is_flux_key
from ..file_kinds.header import Header, named, read_safetensors
from ..file_kinds.naming import what_it_is
from ..files.digest import file_stamp
from ..files.first_bytes import SAFETENSORS, no_safetensors
from ..files.tensors import is_finite
from .keys import Layout, Part, branch_suffix, expected_keys, file_key, part_shapes
from .shape import HEAD_DIM, Branch, BranchShape

Shapes = Mapping[str, tuple[int, ...]]
Change = Callable[[str, Tensor], Tensor]

logger = logging.getLogger("withanyone")

# A layer's number has four digits at most: a damaged name with more must not be counted up to.
_LAYER_KEYS = re.compile(r"^ipa(_arc|_sig)?\.([0-9]{1,4})\.(norm1|norm2|to_q|to_kv|to_out)\.(weight|bias)$")
# Parameters that the training program saves beside the adapter and that no released network uses.
_UNUSED_KEYS = re.compile(r"^(siglip_in_arc\.|learnable_query$)")
# Spelled as in the header of a safetensors file.
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class AdapterFileError(ValueError):
    """A file that is not a usable WithAnyone adapter; the message says why and what to do."""


@dataclass(frozen=True)
class AdapterFile:
    """A checked adapter file.

    layout   "dual": base and K, one or both branches under `_arc` / `_sig` names; "single": Ke and raw training files
    shapes   sizes of each branch in the file
    dtype    the type the tensors are stored in
    stamp    tells the content that was checked from whatever lies there later
    unknown  keys of tensors that no adapter has; they are never read
    """

    path: Path
    layout: Layout
    shapes: Mapping[Branch, BranchShape]
    dtype: torch.dtype
    stamp: str
    unknown: tuple[str, ...] = ()

    @property
    def truncates_boxes(self) -> bool:
        """Whether a box's fractional upper corner is cut to whole pixels first, as the face-edit program does."""
        # Ke is the only released adapter in this layout; raw training files share it, and nothing in them tells.
        return self.layout == "single"


def inspect_adapter(path: Path) -> AdapterFile:
    """Reads the header of an adapter file and checks every key and shape.

    Raises AdapterFileError for anything but a complete adapter in safetensors form, naming the keys at fault, and
    FileNotFoundError where there is no such file. Tensors that are neither the adapter's nor FLUX's are left out, as
    the released program does.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no adapter file at {path}.")
    if path.suffix.lower() not in SAFETENSORS:
        raise AdapterFileError(
            f"{path.name}: adapters are read from .safetensors files only (other formats can run code when opened)."
        )
    # Before the header is read: a file replaced in between no longer matches its stamp, and `opened` refuses it.
    stamp = file_stamp(path)
    header = read_header(path)
    found = {key: info.shape for key, info in header.tensors.items()}
    layout = _layout(path, header)
    # The released program lays the adapter over FLUX's state dict unchecked, so such a key would replace a FLUX weight.
    _refuse_flux_keys(path, found)
    # Before branches are found: an unused `siglip_in` would make an arc file pass for a sig one.
    present = {key: shape for key, shape in found.items() if not _is_unused(key, shape, found)}
    shapes = {branch: _branch_shape(path, present, layout, branch) for branch in _branches(present, layout)}
    expected = {
        key: shape
        for branch, branch_shape in shapes.items()
        for key, shape in expected_keys(branch_shape, layout).items()
    }
    _compare(path, present, expected)
    dtype = _stored_dtype(path, {key: header.tensors[key].dtype for key in expected})
    unknown = tuple(key for key in present if key not in expected)
    return AdapterFile(path, layout, shapes, dtype, stamp, unknown)


def name_unknown(file: AdapterFile) -> None:
    """Says which tensors are left out; for those who load the file, once."""
    if file.unknown:
        logger.warning(
            "%s holds %d tensors that WithAnyone does not know and leaves out: %s.",
            file.path.name,
            len(file.unknown),
            named(file.unknown),
        )


@contextmanager
def opened(file: AdapterFile) -> Iterator[safe_open]:
    """A reader of the file that was checked. Raises AdapterFileError where another one lies in its place by now."""
    _refuse_changed(file)
    with safe_open(file.path, framework="pt") as reader:
        yield reader
    # Once more: safe_open maps the file, so one rewritten meanwhile gives a mixture of both.
    _refuse_changed(file)


def read_part(
    file: AdapterFile, branch: Branch, part: Part, changes: Sequence[Change] = (), mapped: bool = False
) -> dict[str, Tensor]:
    """Tensors of one part of one branch, under the names of `IdentityEncoder` or `IdentityAttention`.

    `changes` are applied in order to every tensor, called with its key in the file. The tensors own their memory, so
    that the file is free again when this returns; `mapped` ones are the file's own pages, which cost no memory until
    they are used. Raises AdapterFileError where a value is NaN or infinite, before or after the changes, and where the
    file is not the one that was checked.
    """
    suffix = branch_suffix(branch, file.layout)
    tensors = {}
    with opened(file) as reader:
        for name in part_shapes(file.shapes[branch], part):
            key = file_key(name, suffix)
            # get_tensor gives pages of the mapped file, and Windows lets nobody replace a file that is mapped.
            tensor = reader.get_tensor(key) if mapped else reader.get_tensor(key).clone()
            if not is_finite(tensor):
                raise AdapterFileError(
                    f"{file.path.name}: {key} holds NaN or infinite values. The file is damaged or its training "
                    "failed; download or train it again."
                )
            tensors[name] = _changed(file, key, tensor, changes)
    return tensors


def part_keys(file: AdapterFile, branch: Branch, part: Part) -> dict[str, str]:
    """The key in the file of each tensor of one part of one branch, by its name in the module."""
    suffix = branch_suffix(branch, file.layout)
    return {name: file_key(name, suffix) for name in part_shapes(file.shapes[branch], part)}


def fingerprint(file: AdapterFile) -> str:
    """16 hex digits that tell adapters apart: their shapes and the first keys and values projection of each branch.

    Hashed in bfloat16, so that the same weights stored in a wider type are the same adapter.
    """
    digest = sha256(repr((file.layout, sorted((key.value, shape) for key, shape in file.shapes.items()))).encode())
    with opened(file) as reader:
        for branch in sorted(file.shapes):
            key = file_key("layers.0.to_kv.weight", branch_suffix(branch, file.layout))
            weight = reader.get_tensor(key).to(torch.bfloat16).contiguous()
            # NumPy has no bfloat16, hence the view as bytes.
            digest.update(weight.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_header(path: Path) -> Header:
    """The header of a safetensors file. Raises AdapterFileError for what is none, or not whole."""
    reason = no_safetensors(path)
    if reason:
        raise AdapterFileError(f"{path.name} {reason}")
    try:
        return read_safetensors(path)
    except ValueError as error:
        raise AdapterFileError(f"{path.name} is {error}.") from error


def _refuse_changed(file: AdapterFile) -> None:
    if not file.path.is_file() or file_stamp(file.path) != file.stamp:
        raise AdapterFileError(
            f"{file.path.name} was changed or removed after it had been opened, and the rest of it would not fit what "
            "was read before. Put the file in place and run again: it is then opened again."
        )


def _changed(file: AdapterFile, key: str, tensor: Tensor, changes: Sequence[Change]) -> Tensor:
    changed = tensor
    for change in changes:
        changed = change(key, changed)
    # What no change has touched was checked when it was read.
    if changed is not tensor and not is_finite(changed):
        raise AdapterFileError(
            f"{file.path.name}: {key} becomes NaN or infinite with the adapter LoRAs added to it. Lower their "
            "strength; if that does not help, one of the files is damaged."
        )
    return changed


def _refuse_flux_keys(path: Path, keys: Iterable[str]) -> None:
    flux = [key for key in keys if is_flux_key(key)]
    if flux:
        raise AdapterFileError(
            f"{path.name} holds weights of FLUX itself ({named(flux)}), which would override the base model. "
            "Choose the adapter file alone; a full model belongs in Load Diffusion Model."
        )


def _layout(path: Path, header: Header) -> Layout:
    suffixes = {match[1] for key in header.tensors if (match := _LAYER_KEYS.match(key))}
    if not suffixes:
        raise AdapterFileError(
            f"{path.name} is not a WithAnyone adapter: no key starts with ipa_arc., ipa_sig. or ipa. "
            f"(found {named(header.tensors)}).{what_it_is(header)}"
        )
    return "single" if suffixes == {None} else "dual"


def _branches(keys: Iterable[str], layout: Layout) -> list[Branch]:
    """The branches a file has layers or projectors of, complete or not."""
    keys = list(keys)
    if layout == "single":
        # Unused `siglip_in` tensors are gone by here: one that is left belongs to a sig branch.
        return [Branch.SIG if any(key.startswith("siglip_in.") for key in keys) else Branch.ARC]
    return [
        branch
        for branch in Branch
        if any(_LAYER_KEYS.match(key) and key.startswith(f"ipa_{branch.value}.") for key in keys)
        or any(key.startswith((f"arcface_in_{branch.value}.", f"siglip_in_{branch.value}.")) for key in keys)
    ]


def _is_unused(key: str, shape: tuple[int, ...], found: Shapes) -> bool:
    """A projector made for pooled SigLIP embeddings: four times the width, never called by an arc branch."""
    if key.startswith("siglip_in."):
        # A raw training file has no suffix to tell by, only the rows of its first matrix: 4 x 3072 in an arc file, 3072
        # in a sig file.
        return found.get("siglip_in.0.weight", ())[:1] != found.get("ipa.0.to_out.weight", ())[:1]
    return bool(_UNUSED_KEYS.match(key))


def _branch_shape(path: Path, found: Shapes, layout: Layout, branch: Branch) -> BranchShape:
    suffix = branch_suffix(branch, layout)
    to_out = _size(path, found, f"ipa{suffix}.0.to_out.weight", 2)
    projector = _size(path, found, f"arcface_in{suffix}.3.weight", 2)
    first = _size(path, found, f"arcface_in{suffix}.0.weight", 2)
    siglip = _size(path, found, f"siglip_in{suffix}.0.weight", 2) if branch is Branch.SIG else None
    hidden, inner = to_out
    if inner % HEAD_DIM or projector[0] % hidden:
        raise AdapterFileError(
            f"{path.name}: ipa{suffix}.0.to_out.weight {list(to_out)} and arcface_in{suffix}.3.weight "
            f"{list(projector)} do not fit together: heads have {HEAD_DIM} channels, tokens the width of the stream."
        )
    return BranchShape(
        hidden=hidden,
        heads=inner // HEAD_DIM,
        # By the highest number rather than a count: a gap must come out as missing keys, not as a shallower adapter.
        layers=1 + max(_layers(found, suffix), default=-1),
        arc_tokens=projector[0] // hidden,
        embedding=first[1],
        siglip_width=siglip[1] if siglip else None,
    )


def _layers(found: Shapes, suffix: str) -> set[int]:
    matches = (_LAYER_KEYS.match(key) for key in found)
    return {int(match[2]) for match in matches if match and (match[1] or "") == suffix}


def _size(path: Path, found: Shapes, key: str, dimensions: int) -> tuple[int, ...]:
    if key not in found:
        raise AdapterFileError(f"{path.name} is not complete: {key} is missing.")
    if len(found[key]) != dimensions or 0 in found[key]:
        raise AdapterFileError(f"{path.name}: {key} has shape {list(found[key])}, expected {dimensions} dimensions.")
    return found[key]


def _compare(path: Path, found: Shapes, expected: Shapes) -> None:
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    wrong = [
        f"{key} has {list(found[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if not missing and not wrong:
        return
    # What nobody expected is harmless in itself, but beside a missing key it is often that key, misnamed.
    faults = {"missing": missing, "unexpected": unexpected, "of the wrong shape": wrong}
    lines = [f"{len(keys)} {fault}: {named(keys)}" for fault, keys in faults.items() if keys]
    raise AdapterFileError(f"{path.name} is not a complete WithAnyone adapter. " + "; ".join(lines) + ".")


def _stored_dtype(path: Path, dtypes: Mapping[str, str]) -> torch.dtype:
    foreign = [f"{key} is {dtype}" for key, dtype in dtypes.items() if dtype not in DTYPES]
    if foreign:
        raise AdapterFileError(f"{path.name}: tensors must be stored as F32, F16 or BF16, but {named(foreign)}.")
    # Mixed files are read as stored; the widest type stands for the file.
    return max((DTYPES[dtype] for dtype in dtypes.values()), key=lambda dtype: dtype.itemsize)
