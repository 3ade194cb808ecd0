"""The person whose own tokens a run learns: who it is in the cache, and the identity that the tokens are part of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from withanyone_core.faces.crop import face_crop
from withanyone_core.faces.portrait import mean_embedding
from withanyone_core.files.unicode import one_form
from withanyone_core.identity import Identity

from ..cache.cache import Cache
from ..preparing.photos import UnreadablePhoto, decoded


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody of a cache.

    recognizer  SHA-256 of the recognizer that made the vectors; empty where unknown
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
    """The person of all photos trained on: their mean face vector, and the look of the photo nearest to it.

    SigLIP tokens are one photo's, for patches of different photos do not line up.

    recognizer  the file that made the vectors, if it is known
    image     a cached image by its index, uint8 [H, W, 3], for photos that are not where they were

    ValueError where no photo of the person is trained on.
    """
    faces = cache.faces_of(cache.identities.index(name))
    if not faces:
        raise ValueError(f"The cache holds no photo of {name} to learn from: all are held out. Prepare more of them.")
    vectors = cache.arcface[list(faces)].numpy()
    mean = mean_embedding(list(vectors))
    nearest = faces[int(np.argmax(vectors @ mean / np.linalg.norm(vectors, axis=1)))]
    identity = Identity(
        name,
        torch.from_numpy(mean),
        cache.face(nearest).siglip,
        torch.from_numpy(_crop(cache, nearest, image).copy()).float() / 255,
        face_model(recognizer) if recognizer else "",
        f"{len(faces)} photo{'s' if len(faces) > 1 else ''}, combined by mean",
        torch.from_numpy(vectors.copy()),
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
        photo, box = decoded(Path(entry.source).read_bytes()), record.box
    except (OSError, UnreadablePhoto):
        photo = image(record.image)
        (box,) = (cut.box for cut in entry.crops[0].faces if cut.face == face)
    height_px, width_px = photo.shape[:2]
    x1, y1, x2, y2 = box
    return face_crop(photo, (x1 * width_px, y1 * height_px, x2 * width_px, y2 * height_px))
