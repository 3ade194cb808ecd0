"""The facts of a family of base models, as the adapter, the sockets and the file checks need them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """Of a transformer: its blocks of each kind, and the width of the image stream."""

    double_blocks: int
    single_blocks: int
    width: int

    @property
    def blocks(self) -> int:
        """Of both kinds: an adapter has a layer for each."""
        return self.double_blocks + self.single_blocks


@dataclass(frozen=True)
class BaseModel:
    """A family of base models that one kind of adapter file is made for.

    name               as the headers of adapter files have it
    label              as its users call it
    sizes              of the published models, by their names
    token_px           side of the square of pixels that one image token covers
    vae_px             side of the square of pixels that the VAE turns into one place of its latent
    only_here          first part of the key of tensors (and the name of the module) that no other family of this
                       architecture has, in the original naming and in diffusers'
    mu                 exponent of the sigma shift, for a number of image tokens and of sampling steps
    edits_by_reference whether a reference latent is there to be edited, which asks for an adapter of its own
    licence            of the published models
    """

    name: str
    label: str
    sizes: Mapping[str, Size]
    token_px: int
    vae_px: int
    only_here: tuple[str, ...]
    mu: Callable[[int, int], float]
    edits_by_reference: bool
    licence: str

    def is_module(self, transformer: Any) -> bool:
        """Whether a transformer of ComfyUI's or diffusers' class is one of this family."""
        return any(getattr(transformer, name, None) is not None for name in self.only_here)

    def has_keys(self, keys: Iterable[str]) -> bool:
        """Whether tensors of these keys, without any prefix, are a transformer of this family."""
        starts = tuple(f"{name}." for name in self.only_here)
        return any(key.startswith(starts) for key in keys)

    def tokens(self, width_px: int, height_px: int) -> int:
        """Image tokens of a canvas."""
        return (width_px // self.token_px) * (height_px // self.token_px)

    def named(self, blocks: int, width: int) -> tuple[str, ...]:
        """The published models with so many blocks of this width."""
        return tuple(name for name, size in self.sizes.items() if (size.blocks, size.width) == (blocks, width))
