"""One identity between two."""

import logging
from dataclasses import replace

import torch

from ..faces.portrait import check_same_model, mean_embedding
from ..identity import Identity

LOGGER = logging.getLogger("withanyone")


def merged(first: Identity, second: Identity, share: float, name: str = "") -> Identity:
    """The person between two; `share` is the part of the second, 0 to 1.

    ArcFace vectors meet at their weighted mean direction and mean length. SigLIP tokens and crop are the first's:
    patches of two photos do not line up. Learned tokens belong to one person and are left out, with a warning, unless
    the share is 0. Without a name the first's is kept.

    Raises ValueError for a share outside 0..1 and for vectors of different recognizers.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"The weight of {second.name} is {share:g}; expected 0 ({first.name} only) to 1.")
    name = name.strip() or first.name
    if share == 0.0:
        return replace(first, name=name)
    check_same_model(first.name, first.face_model, second.name, second.face_model)
    if first.learned is not None or second.learned is not None:
        LOGGER.warning("%s: learned tokens belong to one person and are left out of a merged identity.", name)
    vectors = [first.arcface.numpy(), second.arcface.numpy()]
    return replace(
        first,
        name=name,
        arcface=torch.from_numpy(mean_embedding(vectors, [1.0 - share, share])),
        face_model=first.face_model or second.face_model,
        made_from=f"{_part(first, 1.0 - share)} and {_part(second, share)}",
        embeddings=torch.cat([_vectors(first), _vectors(second)]),
        learned=None,
    )


def _part(identity: Identity, share: float) -> str:
    return f"{share:.0%} {identity.name}" + (f" ({identity.made_from})" if identity.made_from else "")


def _vectors(identity: Identity) -> torch.Tensor:
    return identity.arcface[None] if identity.embeddings is None else identity.embeddings
