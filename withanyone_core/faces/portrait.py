"""One person's identity made from one or several photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..identity import Face, Identity
from .crop import crop_rectangle, face_crop
from .photo import size_in_words
from .selection import RULES, chosen_face, left_to_right

COMBINATIONS = ("first", "mean")
NO_FACE = ("error", "skip")
LEAST_AGREEMENT = 1e-3  # length of the mean direction; photos of one person come to 0.6 and more


class FaceAnalysis(Protocol):
    """Whatever finds faces. It may also have `best_score(photo) -> float`, which error messages then quote."""

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        """The faces of an RGB photo [H, W, 3] uint8 by descending detection score, each with its ArcFace vector."""


@dataclass(frozen=True)
class Choices:
    """How photos become one identity.

    which_face   rule of `selection.chosen_face`
    face_number  from 1, counted from the left; read by "left to right" only
    combine      "first" uses the first photo with a face; "mean" averages the ArcFace vectors of all photos
    no_face      what a photo without a face does: "error" stops, "skip" passes on to the next
    """

    which_face: str = RULES[0]
    face_number: int = 1
    combine: str = COMBINATIONS[0]
    no_face: str = NO_FACE[0]


@dataclass(frozen=True, eq=False)
class UsedFace:
    """A face that went into an identity.

    photo_number  from 1, in the batch
    photo         the photo, uint8 [H, W, 3] RGB
    face          the face as the detector gave it
    face_number   from 1, counted from the left in its photo
    face_count    faces found in its photo
    crop          uint8 [512, 512, 3] RGB
    """

    photo_number: int
    photo: np.ndarray
    face: Face
    face_number: int
    face_count: int
    crop: np.ndarray

    def in_words(self) -> str:
        of = f"face {self.face_number} of {self.face_count} from the left" if self.face_count > 1 else "the only face"
        x1, y1, x2, y2 = self.face.box_px
        return f"photo {self.photo_number}: {of}, score {self.face.score:.2f}, {x2 - x1:.0f} x {y2 - y1:.0f} pixels"


def identity_from_photos(
    photos: Sequence[np.ndarray],
    analysis: FaceAnalysis,
    name: str,
    choices: Choices,
    siglip: Callable[[np.ndarray], Tensor] | None = None,
) -> tuple[Identity, tuple[UsedFace, ...]]:
    """The identity of the person in RGB photos [H, W, 3] uint8, and the faces it was made from.

    `siglip` maps a crop [512, 512, 3] uint8 to patch tokens [patches, width]; without it the identity has none. Tokens
    and crop come from the first used photo also under "mean": patches of different photos do not line up.

    Raises ValueError in words where a photo has no face (unless skipped), or not the face asked for.
    """
    used = _used_faces(photos, analysis, choices)
    identity = Identity(
        name=name,
        arcface=torch.from_numpy(mean_embedding([item.face.embedding for item in used])),
        siglip=None if siglip is None else siglip(used[0].crop),
        crop=torch.from_numpy(used[0].crop.copy()).to(torch.float32) / 255.0,
    )
    return identity, used


def mean_embedding(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """The mean direction of raw ArcFace vectors [512] at their mean length; one vector is returned as it is.

    The plain mean of vectors that point apart is shorter than they are, and the projector reads the length.
    Raises ValueError where the directions cancel out.
    """
    if len(embeddings) == 1:
        return np.array(embeddings[0], dtype=np.float32)
    stacked = np.stack(embeddings).astype(np.float64)
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    direction = (stacked / lengths).mean(axis=0)
    agreement = np.linalg.norm(direction)
    if agreement < LEAST_AGREEMENT:
        raise ValueError(
            "The photos' faces cancel each other out: they show different people. Use photos of one person."
        )
    return (direction / agreement * lengths.mean()).astype(np.float32)


def _used_faces(photos: Sequence[np.ndarray], analysis: FaceAnalysis, choices: Choices) -> tuple[UsedFace, ...]:
    used, without = [], []
    for number, photo in enumerate(photos, start=1):
        faces = _croppable(analysis.faces(photo), photo)
        if faces:
            used.append(_used_face(faces, photo, number, choices))
            if choices.combine == "first":
                break
        else:
            without.append(_no_face_in_words(photo, number, analysis))
            if choices.no_face == "error":
                raise ValueError(f"{without[0]} {_what_to_try()} Or set no_face to skip to pass over such photos.")
    if not used:
        raise ValueError(f"None of the photos shows a face. {' '.join(without)} {_what_to_try()}")
    return tuple(used)


def _used_face(faces: Sequence[Face], photo: np.ndarray, photo_number: int, choices: Choices) -> UsedFace:
    label = f"photo {photo_number} ({size_in_words(photo)})"
    index = chosen_face(faces, choices.which_face, choices.face_number, label)
    face = faces[index]
    if not np.isfinite(face.embedding).all() or not face.embedding.any():
        raise ValueError(
            f"The recogniser gave no usable numbers for the face in {label} (score {face.score:.2f}). "
            "Try another photo; if it happens with every photo, the recogniser's file is damaged."
        )
    return UsedFace(
        photo_number=photo_number,
        photo=photo,
        face=face,
        face_number=left_to_right(faces).index(index) + 1,
        face_count=len(faces),
        crop=face_crop(photo, face.box_px),
    )


def _croppable(faces: Sequence[Face], photo: np.ndarray) -> list[Face]:
    height_px, width_px = photo.shape[:2]
    return [face for face in faces if crop_rectangle(face.box_px, width_px, height_px) is not None]


def _no_face_in_words(photo: np.ndarray, number: int, analysis: FaceAnalysis) -> str:
    best_score = getattr(analysis, "best_score", None)
    best = "" if best_score is None else f"; the best candidate scored {best_score(photo):.2f}"
    return f"No face was found in photo {number} ({size_in_words(photo)}){best}."


def _what_to_try() -> str:
    return (
        "Try a photo with the whole head in it and the face not covered, a lower det_threshold in Load Face Analysis, "
        "or another det_size: smaller if the face fills the photo, larger if it is tiny."
    )
