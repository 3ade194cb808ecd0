"""One person's identity made from one or several photos."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..identity import Face, Identity
from .crop import crop_rectangle, face_crop
from .face_analysis import FaceAnalysis
from .photo import size_text
from .selection import LIKE, RULES, NoFace, chosen_face, left_to_right
from .turning import turning_hint

logger = logging.getLogger("withanyone")

COMBINATIONS = ("first", "mean")
NO_FACE = ("error", "skip")
SMALL_FACE_PX = 32  # ArcFace reads 112 pixels; enlarged from less than a third of that, faces become alike
LEAST_AGREEMENT = 1e-3  # length of the mean direction; photos of one person come to 0.6 and more


@dataclass(frozen=True)
class Choices:
    """How photos become one identity.

    which_face   rule of `selection.chosen_face`
    face_number  from 1, counted from the left; read by "left to right" only
    combine      "first" uses the first photo with a face; "mean" averages the ArcFace embeddings of all photos
    no_face      what a photo without a face (or, by "like this identity", without that person) does: "error" stops,
                 "skip" passes on to the next
    like         the person to look for; read by "like this identity" only
    """

    which_face: str = RULES[0]
    face_number: int = 1
    combine: str = COMBINATIONS[0]
    no_face: str = NO_FACE[0]
    like: Identity | None = None


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

    def description(self) -> str:
        """Which face of which photo, its score and size, for messages and the node."""
        of = f"face {self.face_number} of {self.face_count} from the left" if self.face_count > 1 else "the only face"
        wide, high = self.size_px
        small = f", too small for a good likeness (under {SMALL_FACE_PX})" if self.is_small else ""
        return f"photo {self.photo_number}: {of}, score {self.face.score:.2f}, {wide:.0f} x {high:.0f} pixels{small}"

    @property
    def size_px(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.face.box_px
        return x2 - x1, y2 - y1

    @property
    def is_small(self) -> bool:
        return min(self.size_px) < SMALL_FACE_PX


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

    A face under SMALL_FACE_PX is used with a warning. Raises ValueError where a photo has no face (unless
    skipped), or not the face asked for.
    """
    face_model = getattr(analysis, "model_name", "")
    if choices.which_face == LIKE and choices.like is not None:
        check_same_model(choices.like.name, choices.like.face_model, "the photos", face_model)
    used = _used_faces(photos, analysis, choices)
    for item in used:
        if item.is_small:
            logger.warning("%s: %s", name, item.description())
    embeddings = [item.face.embedding for item in used]
    identity = Identity(
        name=name,
        arcface=torch.from_numpy(mean_embedding(embeddings)),
        siglip=None if siglip is None else siglip(used[0].crop),
        # A copy: arrays from Pillow are read-only, and torch warns of those.
        crop=torch.from_numpy(used[0].crop.copy()).to(torch.float32) / 255.0,
        face_model=face_model,
        made_from=_made_from(used, choices),
        embeddings=torch.from_numpy(np.stack(embeddings).astype(np.float32)),
    )
    return identity, used


def mean_embedding(embeddings: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """The mean direction of raw ArcFace embeddings [512] at their mean length; one embedding is returned as it is.

    `weights` are the weights of the embeddings in both means and sum to 1; without them all count alike.
    The plain mean of embeddings that point apart is shorter than they are, and the projector reads the length.
    Raises ValueError where the directions cancel out.
    """
    if len(embeddings) == 1:
        return np.array(embeddings[0], dtype=np.float32)
    stacked = np.stack(embeddings).astype(np.float64)
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    direction = np.average(stacked / lengths, axis=0, weights=weights)
    agreement = np.linalg.norm(direction)
    if agreement < LEAST_AGREEMENT:
        raise ValueError(
            "The photos' faces cancel each other out: they show different people. Use photos of one person."
        )
    return (direction / agreement * np.average(lengths, weights=weights, axis=0)).astype(np.float32)


def check_same_model(first: str, first_model: str, second: str, second_model: str) -> None:
    """ValueError where two known face models differ; an unknown one (empty) passes."""
    if first_model and second_model and first_model != second_model:
        raise ValueError(
            f"The face embedding of {first} was made by {first_model}, that of {second} by {second_model}; such "
            "embeddings cannot be compared or mixed. Make both with the same pack in Load Face Analysis."
        )


def _made_from(used: Sequence[UsedFace], choices: Choices) -> str:
    photos = "1 photo" if len(used) == 1 else f"{len(used)} photos"
    return f"{photos}, face by {choices.which_face}, combined by {choices.combine}"


def _used_faces(photos: Sequence[np.ndarray], analysis: FaceAnalysis, choices: Choices) -> tuple[UsedFace, ...]:
    used, without = [], []
    for number, photo in enumerate(photos, start=1):
        try:
            used.append(_used_face(photo, number, analysis, choices))
        except NoFace as error:
            if choices.no_face == "error":
                raise ValueError(f"{error} {error.advice} Or set no_face to skip to pass over such photos.") from error
            without.append(error)
        if used and choices.combine == "first":
            break
    if not used:
        whom = choices.like.name if choices.which_face == LIKE and choices.like else "a face"
        words = " ".join(str(error) for error in without)
        raise ValueError(f"None of the photos shows {whom}. {words} {without[-1].advice}")
    return tuple(used)


def _used_face(photo: np.ndarray, photo_number: int, analysis: FaceAnalysis, choices: Choices) -> UsedFace:
    """The chosen face of one photo; NoFace where there is none."""
    faces = croppable_faces(photo, f"photo {photo_number}", analysis)
    label = f"photo {photo_number} ({size_text(photo)})"
    index = chosen_face(faces, choices.which_face, choices.face_number, label, choices.like)
    face = faces[index]
    if not np.isfinite(face.embedding).all() or not face.embedding.any():
        raise ValueError(
            f"The recognizer gave no usable numbers for the face in {label} (score {face.score:.2f}). "
            "Try another photo; if it happens with every photo, the recognizer's file is damaged."
        )
    return UsedFace(
        photo_number=photo_number,
        photo=photo,
        face=face,
        face_number=left_to_right(faces).index(index) + 1,
        face_count=len(faces),
        crop=face_crop(photo, face.box_px),
    )


def croppable_faces(photo: np.ndarray, label: str, analysis: FaceAnalysis) -> list[Face]:
    """The faces of a photo [H, W, 3] uint8 whose boxes are at least one pixel large and touch it.

    Raises NoFace, naming the photo by `label` and quoting the likeliest candidate, where there is none; it also says
    whether the photo shows one when it is turned.
    """
    height_px, width_px = photo.shape[:2]
    found = analysis.faces(photo)
    faces = [face for face in found if crop_rectangle(face.box_px, width_px, height_px) is not None]
    if faces:
        return faces
    if found:
        raise NoFace(f"No face in {label} ({size_text(photo)}) is large enough: all are under one pixel or outside.")
    best_score = getattr(analysis, "best_score", None)
    best = "" if best_score is None else f"; the best candidate scored {best_score(photo):.2f}"
    raise NoFace(f"No face was found in {label} ({size_text(photo)}){best}.{turning_hint(photo, analysis)}")
