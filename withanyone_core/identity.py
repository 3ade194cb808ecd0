"""People as the adapter sees them: a detected face, and the identity made from one or several faces."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .canvas import BoxPx


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in a photo.

    box_px        (x1, y1, x2, y2) in pixels of the photo, as the detector gave it (not clipped, not rounded)
    score         detection score, 0 to 1
    landmarks_px  float32 [5, 2]: left eye, right eye, nose, left and right mouth corner, as seen in the image
    embedding     float32 [512], raw ArcFace output, not normalized
    """

    box_px: BoxPx
    score: float
    landmarks_px: np.ndarray
    embedding: np.ndarray


@dataclass(frozen=True, eq=False)
class LearnedTokens:
    """Tokens trained for one person, in place of those that an adapter's projectors make of the face and the photo.

    adapter       fingerprint of the adapter they were trained with; with another one they mean nothing
    arc, sig      [tokens, hidden] of the branch in the type they are kept in, or None where nothing was trained for it
    adapter_name  that adapter's file, for messages
    recognizer    SHA-256 of the recognizer whose embeddings they were trained towards; empty where unknown
    """

    adapter: str
    arc: Tensor | None = None
    sig: Tensor | None = None
    adapter_name: str = ""
    recognizer: str = ""


@dataclass(frozen=True, eq=False)
class Identity:
    """One person, ready to be turned into keys and values by an adapter.

    Compared by object, so that what an adapter made for a person can live exactly as long as the person does.

    arcface     float32 [512], raw ArcFace embedding, not normalized: its length matters to the projector
    siglip      float32 [patches, width] post-norm SigLIP tokens of the crop (released adapter: 256 x 768), or None
    crop        float32 [512, 512, 3] in 0..1, the face crop SigLIP saw
    face_model  the pack and recognizer that made the embeddings; empty where unknown
    made_from   the photos and choices it was made with
    embeddings  float32 [photos, 512], the raw ArcFace embedding of every photo used, or None
    learned     tokens trained for this person, or None
    """

    name: str
    arcface: Tensor
    siglip: Tensor | None
    crop: Tensor
    face_model: str = ""
    made_from: str = ""
    embeddings: Tensor | None = None
    learned: LearnedTokens | None = None
