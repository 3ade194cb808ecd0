"""Merging two people into one identity between them."""

import logging
from dataclasses import replace

import torch

from ..faces.portrait import check_same_model, mean_embedding
from ..identity import Identity

LOGGER = logging.getLogger("withanyone")


def merge(first: Identity, second: Identity, weight: float, name: str = "") -> Identity:
    """The person between two; `weight` is that of the second, 0 to 1.

    ArcFace embeddings meet at their weighted mean direction and mean length. SigLIP tokens and crop are the first's:
    patches of two photos do not line up. Learned tokens belong to one person and are left out, with a warning, unless
    the weight is 0. Without a name the first's is kept.

    Raises ValueError for a weight outside 0..1 and for embeddings of different recognizers.
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"The weight of {second.name} is {weight:g}; expected 0 ({first.name} only) to 1.")
    name = name.strip() or first.name
    if weight == 0.0:
        return replace(first, name=name)
    check_same_model(first.name, first.face_model, second.name, second.face_model)
    if first.learned is not None or second.learned is not None:
        LOGGER.warning("%s: learned tokens belong to one person and are left out of a merged identity.", name)
    both = [first.arcface.numpy(), second.arcface.numpy()]
    return replace(
        first,
        name=name,
        arcface=torch.from_numpy(mean_embedding(both, [1.0 - weight, weight])),
        face_model=first.face_model or second.face_model,
        made_from=f"{_part(first, 1.0 - weight)} and {_part(second, weight)}",
        embeddings=torch.cat([_embeddings(first), _embeddings(second)]),
        learned=None,
    )


def _part(identity: Identity, weight: float) -> str:
    return f"{weight:.0%} {identity.name}" + (f" ({identity.made_from})" if identity.made_from else "")


def _embeddings(identity: Identity) -> torch.Tensor:
    return identity.arcface[None] if identity.embeddings is None else identity.embeddings
