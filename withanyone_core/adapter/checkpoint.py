"""Adapter files: what is in them, whether all of it is sound, and reading a part at a time.

The header alone tells branches and sizes; tensors are read when their part is needed, so a branch that is switched off
costs neither disk nor memory.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .shape import HEAD_DIM, Branch, BranchShape

Part = Literal["encoder", "attention"]
Shapes = Mapping[str, tuple[int, ...]]
Change = Callable[[str, Tensor], Tensor]

_FLUX_KEYS = re.compile(
    r"^(model\.diffusion_model\.|diffusion_model\.|transformer\.)?"
    r"(double_blocks|single_blocks|transformer_blocks|single_transformer_blocks|img_in|txt_in|time_in|vector_in"
    r"|guidance_in|final_layer)\."
)
# Parameters that the training program saves beside the adapter and that no released network uses.
_UNUSED_KEYS = re.compile(r"^(siglip_in_arc\.|learnable_query$)")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMED_AT_MOST = 8


class AdapterFileError(ValueError):
    """A file that is not a usable WithAnyone adapter; the message says why and what to do."""


@dataclass(frozen=True)
class AdapterFile:
    """A checked adapter file.

    layout  "dual": base and K, one or both branches under `_arc` / `_sig` names; "single": Ke and raw training files
    shapes  sizes of each branch in the file
    dtype   the type the tensors are stored in
    """

    path: Path
    layout: Literal["dual", "single"]
    shapes: Mapping[Branch, BranchShape]
    dtype: torch.dtype

    @property
    def truncates_boxes(self) -> bool:
        """Whether a box's fractional upper corner is cut to whole pixels first, as the face-edit program does."""
        return self.layout == "single"


def inspect_adapter(path: Path) -> AdapterFile:
    """Reads the header of an adapter file and checks every key and shape.

    Raises AdapterFileError for anything but a complete adapter in safetensors form, naming the keys at fault, and
    FileNotFoundError where there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no adapter file at {path}.")
    if path.suffix not in (".safetensors", ".sft"):
        raise AdapterFileError(
            f"{path.name}: adapters are read from .safetensors files only (other formats can run code when opened)."
        )
    found, dtypes = read_header(path)
    _refuse_flux_keys(path, found)
    layout = _layout(path, found)
    present = {key: shape for key, shape in found.items() if not _is_unused(key, shape, found)}
    shapes = {branch: _branch_shape(path, present, layout, branch) for branch in _branches(present, layout)}
    expected = {
        key: shape
        for branch, branch_shape in shapes.items()
        for key, shape in expected_keys(branch_shape, layout).items()
    }
    _compare(path, present, expected)
    return AdapterFile(path, layout, shapes, _stored_dtype(path, {key: dtypes[key] for key in expected}))


def expected_keys(shape: BranchShape, layout: Literal["dual", "single"]) -> dict[str, tuple[int, ...]]:
    """Key and shape of every tensor a branch has in a file of this layout."""
    suffix = _suffix(shape.branch, layout)
    keys = {}
    for part in ("encoder", "attention"):
        for name, size in _part_shapes(shape, part).items():
            keys[file_key(name, suffix)] = size
    return keys


def read_part(file: AdapterFile, branch: Branch, part: Part, changes: Sequence[Change] = ()) -> dict[str, Tensor]:
    """Tensors of one part of one branch, under the names of `IdentityEncoder` or `IdentityAttention`.

    `changes` are applied in order to every tensor, called with its key in the file. The tensors own their memory, so
    that the file is free again when this returns. Raises AdapterFileError where a value is NaN or infinite, before or
    after the changes.
    """
    suffix = _suffix(branch, file.layout)
    tensors = {}
    with safe_open(file.path, framework="pt") as reader:
        for name in _part_shapes(file.shapes[branch], part):
            key = file_key(name, suffix)
            tensor = reader.get_tensor(key).clone()
            if not tensor.isfinite().all():
                raise AdapterFileError(
                    f"{file.path.name}: {key} holds NaN or infinite values. The file is damaged or its training "
                    "failed; download or train it again."
                )
            tensors[name] = _changed(file, key, tensor, changes)
    return tensors


def part_keys(file: AdapterFile, branch: Branch, part: Part) -> set[str]:
    """Keys in the file of one part of one branch."""
    suffix = _suffix(branch, file.layout)
    return {file_key(name, suffix) for name in _part_shapes(file.shapes[branch], part)}


def fingerprint(file: AdapterFile) -> str:
    """16 hex digits that tell adapters apart: their shapes and the first keys and values projection of each branch.

    Hashed in bfloat16, so that the same weights stored in a wider type are the same adapter.
    """
    digest = sha256(repr((file.layout, sorted((key.value, shape) for key, shape in file.shapes.items()))).encode())
    with safe_open(file.path, framework="pt") as reader:
        for branch in sorted(file.shapes):
            key = file_key("layers.0.to_kv.weight", _suffix(branch, file.layout))
            weight = reader.get_tensor(key).to(torch.bfloat16).contiguous()
            digest.update(weight.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shape and stored type of every tensor. Raises AdapterFileError for what is not a whole safetensors file."""
    shapes, dtypes = {}, {}
    try:
        with safe_open(path, framework="pt") as reader:
            for key in reader.keys():  # noqa: SIM118 - not a mapping
                header = reader.get_slice(key)
                shapes[key], dtypes[key] = tuple(header.get_shape()), header.get_dtype()
    except SafetensorError as error:
        raise AdapterFileError(
            f"{path.name} is not a whole safetensors file ({error}). The download was probably cut off; fetch it again."
        ) from error
    return shapes, dtypes


def _changed(file: AdapterFile, key: str, tensor: Tensor, changes: Sequence[Change]) -> Tensor:
    changed = tensor
    for change in changes:
        changed = change(key, changed)
    if changed is not tensor and not changed.isfinite().all():
        raise AdapterFileError(
            f"{file.path.name}: {key} becomes NaN or infinite with the adapter LoRAs added to it. Lower their "
            "strength; if that does not help, one of the files is damaged."
        )
    return changed


def _refuse_flux_keys(path: Path, keys: Iterable[str]) -> None:
    flux = [key for key in keys if _FLUX_KEYS.match(key)]
    if flux:
        raise AdapterFileError(
            f"{path.name} holds weights of FLUX itself ({named(flux)}), which would override the base model. "
            "Choose the adapter file alone; a full model belongs in Load Diffusion Model."
        )


def _layout(path: Path, keys: Iterable[str]) -> Literal["dual", "single"]:
    keys = list(keys)
    if any(key.startswith(("ipa_arc.", "ipa_sig.")) for key in keys):
        return "dual"
    if any(key.startswith("ipa.") for key in keys):
        return "single"
    raise AdapterFileError(
        f"{path.name} is not a WithAnyone adapter: no key starts with ipa_arc., ipa_sig. or ipa. (found {named(keys)})."
    )


def _branches(keys: Iterable[str], layout: Literal["dual", "single"]) -> list[Branch]:
    if layout == "dual":
        return [branch for branch in Branch if any(key.startswith(f"ipa_{branch.value}.") for key in keys)]
    return [Branch.SIG if any(key.startswith("siglip_in.") for key in keys) else Branch.ARC]


def _is_unused(key: str, shape: tuple[int, ...], found: Shapes) -> bool:
    """A projector made for pooled SigLIP vectors: four times the width, never called by an arc branch."""
    if key.startswith("siglip_in."):
        return found.get("siglip_in.0.weight", ())[:1] != found.get("ipa.0.to_out.weight", ())[:1]
    return bool(_UNUSED_KEYS.match(key))


def _branch_shape(path: Path, found: Shapes, layout: Literal["dual", "single"], branch: Branch) -> BranchShape:
    suffix = _suffix(branch, layout)
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
        # Four digits at most: a damaged name with more must not be counted up to; it is then an unexpected key.
        layers=1 + max(int(key.split(".")[1]) for key in found if re.match(rf"^ipa{suffix}\.[0-9]{{1,4}}\.", key)),
        arc_tokens=projector[0] // hidden,
        embedding=first[1],
        siglip_width=siglip[1] if siglip else None,
    )


def _size(path: Path, found: Shapes, key: str, dimensions: int) -> tuple[int, ...]:
    if key not in found:
        raise AdapterFileError(f"{path.name} is not complete: {key} is missing.")
    if len(found[key]) != dimensions or 0 in found[key]:
        raise AdapterFileError(f"{path.name}: {key} has shape {list(found[key])}, expected {dimensions} dimensions.")
    return found[key]


def _part_shapes(shape: BranchShape, part: Part) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of `IdentityEncoder` or `IdentityAttention`."""
    hidden, inner = shape.hidden, shape.inner
    if part == "attention":
        layer = {"norm2.weight": (hidden,), "norm2.bias": (hidden,), "to_q.weight": (inner, hidden)}
        layer["to_out.weight"] = (hidden, inner)
        return {f"{index}.{name}": size for index in range(shape.layers) for name, size in layer.items()}
    layer = {"norm1.weight": (hidden,), "norm1.bias": (hidden,), "to_kv.weight": (2 * inner, hidden)}
    names = {f"layers.{index}.{name}": size for index in range(shape.layers) for name, size in layer.items()}
    names |= _projector_shapes("arcface_in", shape.embedding, 4 * hidden, shape.arc_tokens * hidden)
    if shape.siglip_width:
        names |= _projector_shapes("siglip_in", shape.siglip_width, hidden, hidden)
    return names


def _projector_shapes(name: str, entered: int, middle: int, left: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.0.weight": (middle, entered),
        f"{name}.0.bias": (middle,),
        f"{name}.2.weight": (middle,),
        f"{name}.2.bias": (middle,),
        f"{name}.3.weight": (left, middle),
        f"{name}.3.bias": (left,),
    }


def _suffix(branch: Branch, layout: Literal["dual", "single"]) -> str:
    return f"_{branch.value}" if layout == "dual" else ""


def file_key(name: str, suffix: str) -> str:
    """`layers.3.to_kv.weight` or `3.to_q.weight` -> `ipa_arc.3...`; `arcface_in.0.bias` -> `arcface_in_arc.0.bias`."""
    room, rest = name.split(".", 1)
    if room in ("arcface_in", "siglip_in"):
        return f"{room}{suffix}.{rest}"
    return f"ipa{suffix}.{rest if room == 'layers' else name}"


def _compare(path: Path, found: Shapes, expected: Shapes) -> None:
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    wrong = [
        f"{key} has {list(found[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of the wrong shape": wrong}
    lines = [f"{len(keys)} {fault}: {named(keys)}" for fault, keys in faults.items() if keys]
    if lines:
        raise AdapterFileError(f"{path.name} is not a complete WithAnyone adapter. " + "; ".join(lines) + ".")


def _stored_dtype(path: Path, dtypes: Mapping[str, str]) -> torch.dtype:
    foreign = [f"{key} is {dtype}" for key, dtype in dtypes.items() if dtype not in DTYPES]
    if foreign:
        raise AdapterFileError(f"{path.name}: tensors must be stored as F32, F16 or BF16, but {named(foreign)}.")
    # Mixed files are read as stored; the widest type stands for the file.
    return max((DTYPES[dtype] for dtype in dtypes.values()), key=lambda dtype: dtype.itemsize)


def named(keys: Iterable[str]) -> str:
    """A list of keys for a message, cut where it gets long."""
    keys = list(keys)
    rest = len(keys) - _NAMED_AT_MOST
    return ", ".join(keys[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
