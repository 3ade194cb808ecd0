"""Names of a transformer's tensors: as Black Forest Labs and ComfyUI write them, and as diffusers does.

Every tensor of the former is one tensor of the latter or several of them stacked, so that both ways are exact and work
on any part of a model. Pure functions on state dicts; no value is computed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Names = Mapping[str, tuple[str, ...]]
# shift, scale there; scale, shift here
_SWAPPED = "norm_out.linear"
_BLOCKS = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
_STACKED_NAME = re.compile(r"^(double_blocks|single_blocks)\.(\d+)\.(.+)$")
_DIFFUSERS_NAME = re.compile(r"^(transformer_blocks|single_transformer_blocks)\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class KeyTable:
    """The names of one base model, without block numbers and without the ending (weight, bias, scale).

    label                of the base model, for errors
    top, double, single  outside the blocks and in each kind of block: their name to diffusers' one or several
    ratios               of their names whose parts differ in size: the sizes of the parts to each other
    """

    label: str
    top: Names
    double: Names
    single: Names
    ratios: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def to_diffusers(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict, or part of one, under diffusers' names; stacked matrices become views of their parts.

        ValueError naming the first key that the base model does not have.
        """
        converted = {}
        for key, tensor in state.items():
            names = self.diffusers_names(key)
            for name, part in zip(names, self._split(key, tensor, len(names)), strict=True):
                converted[name] = _halves_swapped(part) if name.startswith(_SWAPPED) else part
        return converted

    def to_comfyui(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The other way: diffusers' names to those of Black Forest Labs' files, which ComfyUI opens.

        ValueError naming a key that the base model does not have in diffusers, or the part that a stacked matrix
        lacks.
        """
        groups: dict[str, dict[int, Tensor]] = {}
        for name, tensor in state.items():
            key, place = self._stacked_name(name)
            groups.setdefault(key, {})[place] = _halves_swapped(tensor) if name.startswith(_SWAPPED) else tensor
        return {key: self._joined(key, parts) for key, parts in groups.items()}

    def diffusers_names(self, key: str) -> tuple[str, ...]:
        """Names of the one or more tensors that one of Black Forest Labs' becomes. ValueError for a foreign key."""
        blocks, number, stem, kind = _parsed(_STACKED_NAME, key)
        table = self._table(blocks)
        if stem not in table:
            raise ValueError(
                f"{key} is no key of a {self.label} model; expected names like double_blocks.0.img_attn.qkv.weight."
            )
        prefix = f"{_BLOCKS[blocks]}.{number}." if blocks else ""
        # ComfyUI calls the scales of query and key norms weights since 0.14, Black Forest Labs' files scales.
        kind = "weight" if kind == "scale" else kind
        return tuple(f"{prefix}{name}.{kind}" for name in table[stem])

    def is_stacked_name(self, key: str) -> bool:
        """Whether a key is of the kind that Black Forest Labs and ComfyUI write; it need not be one of this table."""
        starts = tuple(f"{each}." for each in (*_BLOCKS, *self.top))
        return key.startswith(starts) or key.split(".")[0].endswith(("_in", "_layer"))

    def _table(self, blocks: str) -> Names:
        return {"": self.top, "double_blocks": self.double, "single_blocks": self.single}[blocks]

    def _stacked_name(self, name: str) -> tuple[str, int]:
        """Key and place in it of a tensor of diffusers'."""
        named, number, stem, kind = _parsed(_DIFFUSERS_NAME, name)
        blocks = next((each for each, other in _BLOCKS.items() if other == named), "")
        prefix = f"{blocks}.{number}." if blocks else ""
        for key, names in self._table(blocks).items():
            if stem in names:
                kind = "scale" if key.endswith(("query_norm", "key_norm")) else kind
                return f"{prefix}{key}.{kind}", names.index(stem)
        raise ValueError(
            f"{name} is no key of a {self.label} model in diffusers; expected names like "
            "transformer_blocks.0.attn.to_q.weight."
        )

    def _split(self, key: str, tensor: Tensor, parts: int) -> Iterator[Tensor]:
        if parts == 1:
            return iter((tensor,))
        ratios = self.ratios.get(_parsed(_STACKED_NAME, key)[2], (1,) * parts)
        unit = tensor.shape[0] // sum(ratios)
        return iter(tensor.split([unit * ratio for ratio in ratios]))

    def _joined(self, key: str, parts: Mapping[int, Tensor]) -> Tensor:
        names = self.diffusers_names(key)
        missing = [name for place, name in enumerate(names) if place not in parts]
        if missing:
            raise ValueError(f"{key} cannot be put together: {', '.join(missing)} is missing.")
        return torch.cat([parts[place] for place in range(len(names))]) if len(names) > 1 else parts[0]


def _parsed(pattern: re.Pattern[str], key: str) -> tuple[str, str, str, str]:
    """Kind and number of the block (empty outside the blocks), the name in it, and the ending."""
    match = pattern.match(key)
    blocks, number, rest = match.groups() if match else ("", "", key)
    stem, _, kind = rest.rpartition(".")
    return blocks, number, stem, kind


def _halves_swapped(tensor: Tensor) -> Tensor:
    # Its own inverse, so both ways use it.
    return torch.cat(tensor.chunk(2)[::-1])
