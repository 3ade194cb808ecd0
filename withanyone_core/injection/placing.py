"""Identities in their places as the socket for diffusers takes them: what Place Face is in ComfyUI."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..adapter.checkpoint import AdapterFile
from ..adapter.face_model import check_face_model
from ..adapter.learned import check_learned, learned_tokens
from ..adapter.shape import Branch
from ..identity import Identity
from ..regions.layout import Region
from .placed_people import LearnedRows, PlacedPeople, members

Images = Sequence[Sequence[Identity]]


def placed_identities(
    images: Images,
    regions: Sequence[Sequence[Region]],
    width_px: int,
    height_px: int,
    file: AdapterFile,
    branches: Collection[Branch] | None = None,
) -> PlacedPeople:
    """The people of each image of a batch, and the places they stand in.

    file      the adapter that shows them
    branches  of it that work, all where none are named

    Raises ValueError where a person's embedding or learned tokens belong to another recognizer or adapter, or a person
    lacks the SigLIP tokens that a branch reads.
    """
    branches = file.shapes if branches is None else branches
    for identity in {identity for image in images for identity in image}:
        check_face_model(identity, file)
        for branch in branches:
            check_learned(identity, file, branch)
    return PlacedPeople(
        _padded([[identity.arcface for identity in image] for image in images]),
        members(regions, width_px, height_px, file.truncates_boxes),
        _siglip(images) if Branch.SIG in branches else None,
        {branch: rows for branch in branches if (rows := _learned(images, branch)) is not None},
    )


def _siglip(images: Images) -> Tensor | None:
    """SigLIP tokens of everybody; zeros for people whose tokens were learned and who came without."""
    everybody = [identity for image in images for identity in image]
    known = next((identity.siglip for identity in everybody if identity.siglip is not None), None)
    for identity in everybody:
        if identity.siglip is None and learned_tokens(Branch.SIG, identity) is None:
            raise ValueError(
                f"“{identity.name}” has no SigLIP tokens, which the adapter's sig branch needs. Make the identity with "
                "a SigLIP tower, or use the arc branch alone."
            )
    if known is None:
        return None
    empty = torch.zeros_like(known)
    return _padded([[empty if identity.siglip is None else identity.siglip for identity in image] for image in images])


def _learned(images: Images, branch: Branch) -> LearnedRows | None:
    # An ordered set: which row a person gets must not depend on hashing.
    everybody = dict.fromkeys(identity for image in images for identity in image)
    known = {who: tokens for who in everybody if (tokens := learned_tokens(branch, who)) is not None}
    if not known:
        return None
    owners, tokens = list(known), [each.float() for each in known.values()]
    if len({len(each) for each in tokens}) > 1:
        counts = ", ".join(f"{who.name} has {len(each)}" for who, each in zip(owners, tokens, strict=True))
        raise ValueError(
            f"Learned tokens of one image must be equally many, but {counts}. Learn them with one adapter."
        )
    rows = torch.full((len(images), max(1, *map(len, images))), -1)
    for image, people in enumerate(images):
        for place, identity in enumerate(people):
            if identity in owners:
                rows[image, place] = owners.index(identity)
    return LearnedRows(torch.stack(tokens), rows)


def _padded(images: Sequence[Sequence[Tensor]]) -> Tensor:
    """[images, most people, ...] with zeros for people whom an image lacks."""
    shape = next(value.shape for image in images for value in image)
    padded = torch.zeros(len(images), max(map(len, images)), *shape)
    for number, image in enumerate(images):
        for place, value in enumerate(image):
            padded[number, place] = value
    return padded
