"""Learned tokens of one person: who that is in the cache, where training starts from, and the identity they become."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from withanyone_core.adapter.checkpoint import AdapterFile, fingerprint
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.faces.crop import face_crop
from withanyone_core.faces.portrait import mean_embedding
from withanyone_core.files.unicode import one_form
from withanyone_core.identity import Identity, LearnedTokens

from ..cache.cache import Cache
from ..preparing.photos import UnreadablePhoto, decode_photo

PREFIX = "learned."


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody of a cache.

    recognizer  SHA-256 of the recognizer that made the embeddings; empty where unknown
    """

    identity: Identity
    recognizer: str = ""


def chosen_person(cache: Cache, name: str) -> str:
    """The name, or that of the only person there is where it is empty.

    ValueError naming the people there are, where nobody is so called or there are several.
    """
    known = ", ".join(cache.identities) or "nobody"
    if name:
        people = {one_form(each): each for each in cache.identities}
        if one_form(name) not in people:
            raise ValueError(f"train.identity is {name!r}, and the cache holds {known}. Choose one of them.")
        return people[one_form(name)]
    if len(cache.identities) != 1:
        raise ValueError(
            f"train.mode is tokens, which learns one person, and the cache holds {known}. Name whose tokens are to be "
            "learned: train.identity=NAME."
        )
    return cache.identities[0]


def cached_person(cache: Cache, name: str, recognizer: Path | None, image: Callable[[int], np.ndarray]) -> Person:
    """The person of all photos trained on: their mean face embedding, and the SigLIP tokens of the photo nearest to it.

    SigLIP tokens are one photo's, for patches of different photos do not line up.

    recognizer  the file that made the embeddings, if it is known
    image       a cached image by its index, uint8 [H, W, 3], for photos that are not where they were

    ValueError where no photo of the person is trained on.
    """
    faces = cache.faces_of(cache.identities.index(name))
    if not faces:
        raise ValueError(f"The cache holds no photo of {name} to learn from: all are held out. Prepare more of them.")
    embeddings = cache.arcface[list(faces)].numpy()
    mean = mean_embedding(list(embeddings))
    # Cosines but for the mean's own length, which is the same in all of them.
    nearest = faces[int(np.argmax(embeddings @ mean / np.linalg.norm(embeddings, axis=1)))]
    identity = Identity(
        name,
        torch.from_numpy(mean),
        cache.face(nearest).siglip,
        # A copy: arrays from Pillow are read-only, and torch warns of those.
        torch.from_numpy(_crop(cache, nearest, image).copy()).float() / 255,
        face_model(recognizer) if recognizer else "",
        f"{len(faces)} photo{'s' if len(faces) > 1 else ''}, combined by mean",
        torch.from_numpy(embeddings.copy()),
    )
    return Person(identity, cache.files.get(recognizer.name, "") if recognizer else "")


def face_model(recognizer: Path | str) -> str:
    """A recognizer as identities name it: the pack's folder and the file."""
    return "/".join(Path(recognizer).parts[-2:])


def _crop(cache: Cache, face: int, image: Callable[[int], np.ndarray]) -> np.ndarray:
    """The face crop uint8 [512, 512, 3], of the photo itself where it is still there."""
    record = cache.faces[face]
    entry = cache.images[record.image]
    try:
        photo, box = decode_photo(Path(entry.source).read_bytes()), record.box
    except (OSError, UnreadablePhoto):
        photo = image(record.image)
        # The cached image is the crop, so the box is the crop's as well.
        (box,) = (cut.box for cut in entry.crops[0].faces if cut.face == face)
    height_px, width_px = photo.shape[:2]
    x1, y1, x2, y2 = box
    return face_crop(photo, (x1 * width_px, y1 * height_px, x2 * width_px, y2 * height_px))


@torch.no_grad()
def started_tokens(network: AdapterNetwork, identity: Identity) -> dict[str, nn.Parameter]:
    """Float32 [1, tokens, hidden] for each branch of the network, by `learned.BRANCH`.

    Brought to a size of about 1 by a power of two, so that one learning rate suits every adapter. The attention's norm
    takes that size out again.

    ValueError where the sig branch is trained and the identity has no SigLIP tokens.
    """
    found = {}
    for branch in network.shapes:
        if branch is Branch.SIG and identity.siglip is None:
            raise ValueError(
                "The sig branch's tokens are to be learned and the cache holds no SigLIP tokens. Prepare it with a "
                "SigLIP tower, or set adapter.branch=arc."
            )
        encoder = network[branch].encoder
        like = next(encoder.parameters())
        siglip = identity.siglip if branch is Branch.SIG else None
        tokens = encoder.tokens(identity.arcface[None].to(like), None if siglip is None else siglip[None].to(like))
        found[PREFIX + branch.value] = nn.Parameter(_of_size_one(tokens.float()))
    return found


def by_branch(values: Mapping[str, Tensor]) -> dict[Branch, Tensor]:
    """Values of `started_tokens` by the branch they belong to."""
    return {Branch(name.removeprefix(PREFIX)): value for name, value in values.items() if name.startswith(PREFIX)}


def with_tokens(person: Person, values: Mapping[str, Tensor], file: AdapterFile, step: int) -> Identity:
    """The person with trained values as their tokens, in half precision, for the adapter of a file."""
    tokens = {branch.value: value.detach()[0].cpu().half() for branch, value in by_branch(values).items()}
    return replace(
        person.identity,
        made_from=f"{person.identity.made_from}; own tokens of {step} steps for {file.path.name}",
        learned=LearnedTokens(fingerprint(file), adapter_name=file.path.name, recognizer=person.recognizer, **tokens),
    )


def _of_size_one(tokens: Tensor) -> Tensor:
    size = tokens.square().mean().sqrt().item()
    # A power of two is exact in every float type.
    return tokens * 2.0 ** -round(math.log2(size)) if size > 0 else tokens
