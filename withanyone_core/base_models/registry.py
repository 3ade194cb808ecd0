"""All base models that adapters can be made for. A new one is a line here."""

from collections.abc import Iterable
from typing import Any

from .base_model import BaseModel
from .flux1 import FLUX_1
from .flux2 import FLUX_2

BASE_MODELS = (FLUX_1, FLUX_2)


def base_named(name: str) -> BaseModel:
    """Raises ValueError for a name that this version does not know."""
    for base in BASE_MODELS:
        if base.name == name:
            return base
    raise ValueError(f"The base model “{name}” is unknown; this version knows {known_names()}.")


def base_of_module(transformer: Any) -> BaseModel | None:
    """The family of a transformer of ComfyUI's or diffusers' class; None for any other model."""
    return next((base for base in BASE_MODELS if base.is_module(transformer)), None)


def base_of_keys(keys: Iterable[str]) -> BaseModel | None:
    """The family of a transformer with these keys, without a prefix; None for any other."""
    keys = list(keys)
    return next((base for base in BASE_MODELS if base.has_keys(keys)), None)


def bases_of_size(blocks: int, width: int) -> tuple[BaseModel, ...]:
    """The families with a published model of this size."""
    return tuple(base for base in BASE_MODELS if base.named(blocks, width))


def known_names() -> str:
    return " and ".join(base.name for base in BASE_MODELS)


def known_labels() -> str:
    return " and ".join(base.label for base in BASE_MODELS)
