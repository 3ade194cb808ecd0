"""All base models that can be trained on. A new one is a file beside this one and a line here."""

from collections.abc import Iterable

from torch import Tensor, nn

from withanyone_core.base_models.base_model import BaseModel
from withanyone_core.base_models.registry import base_of_keys, base_of_module

from .family import Family, Text, Transformer, Vae
from .flux1 import FLUX_1
from .flux2 import FLUX_2

FAMILIES = (FLUX_1, FLUX_2)


def family_of_module(transformer: nn.Module) -> Family:
    """The family of a transformer of diffusers' class, of its real size or another. ValueError for any other."""
    return _family(base_of_module(transformer))


def family_of_keys(keys: Iterable[str]) -> Family | None:
    """The family of a transformer with these keys, without a prefix; None for any other."""
    model = base_of_keys(keys)
    return None if model is None else _family(model)


def family_of_vae_keys(keys: Iterable[str]) -> Family:
    """The family whose VAE has these keys, without a prefix. FLUX.1 where nothing tells."""
    keys = list(keys)
    return next((family for family in FAMILIES if family.has_vae_keys(keys)), FLUX_1)


def family_of_vae(vae: Vae) -> Family:
    """The family of a VAE of diffusers' class."""
    return next(family for family in FAMILIES if isinstance(vae, family.vae))


def family_named(name: str) -> Family:
    """The family that adapters and caches call so. ValueError for one that cannot be trained on."""
    found = next((family for family in FAMILIES if family.model.name == name), None)
    if found is None:
        known = " and ".join(family.model.name for family in FAMILIES)
        raise ValueError(f"The base model {name} cannot be trained on; this version knows {known}.")
    return found


def velocity(transformer: Transformer, noisy_BCHW: Tensor, sigmas_B: Tensor, text: Text, guidance: float) -> Tensor:
    """The predicted velocity, float32 [B, C, H, W], at sigmas from 0 (clean) to 1 (noise).

    The people are set on the socket around this call.
    """
    return family_of_module(transformer).velocity(transformer, noisy_BCHW, sigmas_B, text, guidance)


def _family(model: BaseModel | None) -> Family:
    found = next((family for family in FAMILIES if family.model is model), None)
    if found is None:
        known = " and ".join(family.label for family in FAMILIES)
        raise ValueError(f"The base model is {model.label if model else 'of no known family'}; expected {known}.")
    return found
