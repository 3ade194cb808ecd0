"""Identities in their places as the socket for diffusers takes them: what Place Face is in ComfyUI."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..adapter.checkpoint import AdapterFile
from ..adapter.face_model import check_face_model
from ..adapter.learned import check_learned, learned_tokens
from ..adapter.shape import Branch
from ..identity import Identity
from ..layout import Region
from .diffusers import LearnedRows, PlacedPeople, members

Pictures = Sequence[Sequence[Identity]]


def placed_identities(
    pictures: Pictures,
    regions: Sequence[Sequence[Region]],
    width_px: int,
    height_px: int,
    file: AdapterFile,
    branches: Collection[Branch] | None = None,
) -> PlacedPeople:
    """The people of each picture of a batch, and the places they stand in.

    file      the adapter that shows them
    branches  of it that work, all where none are named

    Raises ValueError where a person's vector or learned tokens belong to another recogniser or adapter, or a person
    lacks the SigLIP tokens that a branch reads.
    """
    branches = file.shapes if branches is None else branches
    for identity in {identity for picture in pictures for identity in picture}:
        check_face_model(identity, file)
        for branch in branches:
            check_learned(identity, file, branch)
    return PlacedPeople(
        _padded([[identity.arcface for identity in picture] for picture in pictures]),
        members(regions, width_px, height_px, file.truncates_boxes),
        _siglip(pictures) if Branch.SIG in branches else None,
        {branch: rows for branch in branches if (rows := _learned(pictures, branch)) is not None},
    )


def _siglip(pictures: Pictures) -> Tensor | None:
    """SigLIP tokens of everybody; zeros for people whose tokens were learned and who came without."""
    everybody = [identity for picture in pictures for identity in picture]
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
    return _padded(
        [[empty if identity.siglip is None else identity.siglip for identity in picture] for picture in pictures]
    )


def _learned(pictures: Pictures, branch: Branch) -> LearnedRows | None:
    everybody = dict.fromkeys(identity for picture in pictures for identity in picture)
    owners = [identity for identity in everybody if learned_tokens(branch, identity) is not None]
    if not owners:
        return None
    tokens = [learned_tokens(branch, identity).float() for identity in owners]
    if len({len(each) for each in tokens}) > 1:
        counts = ", ".join(f"{who.name} has {len(each)}" for who, each in zip(owners, tokens, strict=True))
        raise ValueError(
            f"Learned tokens of one picture must be equally many, but {counts}. Learn them with one adapter."
        )
    rows = torch.full((len(pictures), max(1, *map(len, pictures))), -1)
    for picture, people in enumerate(pictures):
        for place, identity in enumerate(people):
            if identity in owners:
                rows[picture, place] = owners.index(identity)
    return LearnedRows(torch.stack(tokens), rows)


def _padded(pictures: Sequence[Sequence[Tensor]]) -> Tensor:
    """[pictures, most people, ...] with zeros for people whom a picture lacks."""
    shape = next(value.shape for picture in pictures for value in picture)
    padded = torch.zeros(len(pictures), max(map(len, pictures)), *shape)
    for number, picture in enumerate(pictures):
        for place, value in enumerate(picture):
            padded[number, place] = value
    return padded
