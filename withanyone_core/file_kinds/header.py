"""What a weight file says about its tensors before any of them is read."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

_NAMED_AT_MOST = 8


@dataclass(frozen=True)
class TensorInfo:
    """Type as the file names it (F32, BF16, F8_E4M3, Q4_K ...) and shape, outermost dimension first."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """Names, types and shapes of a file's tensors, and its metadata."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Numbers stored; a quantized format counts what it packs into one byte once."""
        return sum(prod(info.shape) for info in self.tensors.values())

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors of each type, most frequent first."""
        return dict(Counter(info.dtype for info in self.tensors.values()).most_common())

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, empty where there is no such key."""
        return self.tensors[key].shape if key in self.tensors else ()

    def under(self, prefix: str) -> "Header":
        """Only the tensors whose keys start with `prefix`, which they lose."""
        chosen = {key[len(prefix) :]: info for key, info in self.tensors.items() if key.startswith(prefix)}
        return Header(chosen, self.metadata)


def read_safetensors(path: Path) -> Header:
    """The header of a safetensors file. Raises ValueError, its message to follow "is", where the file is not whole."""
    try:
        with safe_open(path, framework="pt") as reader:
            slices = {key: reader.get_slice(key) for key in reader.keys()}  # noqa: SIM118 - not a mapping
            tensors = {key: TensorInfo(each.get_dtype(), tuple(each.get_shape())) for key, each in slices.items()}
            return Header(tensors, reader.metadata() or {})
    except SafetensorError as error:
        raise ValueError(
            f"not a whole safetensors file ({error}). The download was probably cut off; fetch it again"
        ) from error


def named(keys: Iterable[str]) -> str:
    """A list of keys for a message, cut where it gets long."""
    keys = list(keys)
    rest = len(keys) - _NAMED_AT_MOST
    return ", ".join(keys[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def numbers(keys: Iterable[str], prefix: str) -> set[int]:
    """The N of all keys `prefix.N.rest`."""
    return {number for number, _ in _blocks(keys, prefix)}


def uneven(keys: Iterable[str], prefix: str) -> list[str]:
    """Weights and biases that some blocks `prefix.N` have and others lack, though all blocks should be alike."""
    blocks: dict[int, set[str]] = {}
    for number, rest in _blocks(keys, prefix):
        if rest.endswith((".weight", ".bias", "_norm.scale")):
            blocks.setdefault(number, set()).add(rest)
    everything = set().union(*blocks.values())
    return [
        f"{prefix}.{number}.{rest}"
        for number in range(max(blocks, default=-1) + 1)
        for rest in sorted(everything - blocks.get(number, set()))
    ]


def _blocks(keys: Iterable[str], prefix: str) -> Iterator[tuple[int, str]]:
    # Four digits are more blocks than any model has; a damaged name with more must not be counted up to.
    pattern = re.compile(rf"{re.escape(prefix)}\.([0-9]{{1,4}})\.(.+)")
    for key in keys:
        if match := pattern.fullmatch(key):
            yield int(match[1]), match[2]
