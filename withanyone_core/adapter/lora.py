"""Small files that change an adapter: low-rank updates of its matrices, as training writes them.

A file holds `KEY.lora_A.weight` [rank, in] and `KEY.lora_B.weight` [out, rank] for matrices of the adapter, KEY being
the adapter's own key without `.weight`, and optionally a scalar `KEY.alpha` (rank where it is missing).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..file_kinds.header import TensorInfo, named
from ..file_kinds.kinds import ADAPTER_LORA
from ..file_kinds.naming import what_it_is
from ..files.first_bytes import SAFETENSORS
from ..files.tensors import is_finite
from .checkpoint import DTYPES, AdapterFile, AdapterFileError, read_header
from .keys import expected_keys

# Named as PEFT names the factors: A reads (down), B writes (up).
_DOWN, _UP, _ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"


@dataclass(frozen=True, eq=False)
class LowRank:
    """An update `strength * up @ down` of one matrix; the scale alpha / rank is folded into `up`."""

    down: Tensor
    up: Tensor

    @property
    def bound(self) -> float:
        """No number of `up @ down` is larger than this."""
        # |sum over rank of up * down| <= rank * max|up| * max|down|; the product itself is never formed for it.
        return self.down.shape[0] * self.up.abs().max().item() * self.down.abs().max().item()

    def added_to(self, weight: Tensor, strength: float) -> Tensor:
        """The changed matrix in its own type; summed in float32."""
        # Rounded once, at the end, whatever types the factors are stored in.
        change = strength * (self.up.float() @ self.down.float())
        return (weight.float() + change).to(weight.dtype)


@dataclass(frozen=True, eq=False)
class AdapterLora:
    """The updates of one file, by the adapter key they change, and how strongly they are added."""

    updates: Mapping[str, LowRank]
    strength: float = 1.0

    def __call__(self, key: str, weight: Tensor) -> Tensor:
        """The matrix of a key with its update added; matrices without one as they are."""
        return self.updates[key].added_to(weight, self.strength) if key in self.updates else weight

    def changes(self, keys: Iterable[str]) -> bool:
        return self.strength != 0 and not self.updates.keys().isdisjoint(keys)

    def largest_change(self, keys: Iterable[str]) -> float:
        """No number of these matrices changes by more than this."""
        return max((abs(self.strength) * self.updates[key].bound for key in keys if key in self.updates), default=0.0)


def read_lora(path: Path, file: AdapterFile, strength: float = 1.0) -> AdapterLora:
    """A LoRA for this adapter.

    Raises AdapterFileError where the file is broken, holds anything else, or does not fit this adapter, and ValueError
    for a strength that is NaN or infinite.
    """
    path = Path(path)
    if not math.isfinite(strength):
        raise ValueError(f"The strength of {path.name} is {strength}; expected a number.")
    targets = _targets(path)
    tensors = _tensors(path)
    shapes = {
        key: shape
        for branch_shape in file.shapes.values()
        for key, shape in expected_keys(branch_shape, file.layout).items()
        # Norms and biases have no low-rank update.
        if len(shape) == 2
    }
    updates = {f"{target}.weight": _low_rank(path, file, target, tensors, shapes) for target in targets}
    return AdapterLora(updates, strength)


def _targets(path: Path) -> list[str]:
    """The matrices a file changes, by its header alone: a file of another kind may be large."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no adapter LoRA at {path}.")
    if path.suffix.lower() not in SAFETENSORS:
        raise AdapterFileError(f"{path.name}: adapter LoRAs are read from .safetensors files only.")
    header = read_header(path)
    targets = {key.removesuffix(_DOWN) for key in header.tensors if key.endswith(_DOWN)}
    known = {target + suffix for target in targets for suffix in (_DOWN, _UP, _ALPHA)}
    foreign = [key for key in header.tensors if key not in known]
    # A LoRA of FLUX may have the very same form; only the matrices it changes tell.
    instead = what_it_is(header, ADAPTER_LORA)
    if foreign or instead or not targets:
        raise AdapterFileError(
            f"{path.name} is not a LoRA of a WithAnyone adapter (it holds {named(foreign or header.tensors)})."
            + (instead or " LoRAs of FLUX itself belong in Load LoRA.")
        )
    odd = [
        f"{key} is {info.dtype} {list(info.shape)}" for key, info in header.tensors.items() if not _is_read(key, info)
    ]
    if odd:
        raise AdapterFileError(
            f"{path.name}: expected matrices and single alphas stored as F32, F16 or BF16, but {named(odd)}."
        )
    return sorted(targets)


def _is_read(key: str, info: TensorInfo) -> bool:
    is_sized = info.shape in ((), (1,)) if key.endswith(_ALPHA) else len(info.shape) == 2
    return is_sized and info.dtype in DTYPES and 0 not in info.shape


def _tensors(path: Path) -> Mapping[str, Tensor]:
    with safe_open(path, framework="pt") as reader:
        # Copies: the file is free again when this returns.
        tensors = {key: reader.get_tensor(key).clone() for key in reader.keys()}  # noqa: SIM118 - not a mapping
    broken = [key for key, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        raise AdapterFileError(f"{path.name}: NaN or infinite values in {named(broken)}. Fetch or train it again.")
    return tensors


def _low_rank(
    path: Path, file: AdapterFile, target: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> LowRank:
    shape = shapes.get(f"{target}.weight")
    if shape is None:
        raise AdapterFileError(f"{path.name} changes {target}.weight, which {file.path.name} does not have.")
    down, up = tensors[target + _DOWN], tensors.get(target + _UP)
    if up is None:
        raise AdapterFileError(f"{path.name} is not complete: {target + _UP} is missing.")
    rank = down.shape[0]
    if (up.shape[0], down.shape[1]) != shape or up.shape[1] != rank:
        raise AdapterFileError(
            f"{path.name}: {target} has factors {list(up.shape)} x {list(down.shape)}, which do not give the "
            f"{list(shape)} matrix of {file.path.name}. It was made for an adapter of another size."
        )
    alpha = tensors[target + _ALPHA].float().item() if target + _ALPHA in tensors else float(rank)
    # The scale goes into `up` here, so that whoever adds the update needs no alpha.
    up = up.float() * (alpha / rank)
    if not is_finite(up):
        raise AdapterFileError(f"{path.name}: the alpha of {target}, {alpha:g}, is too large. Fetch or train it again.")
    return LowRank(down, up)
