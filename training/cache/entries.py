"""What a cache holds, as values.

Boxes are (x1, y1, x2, y2) and landmarks [5, 2] (left eye, right eye, nose, left and right mouth corner as seen in the
image), all fractions of width and height in full float precision.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

UNKNOWN = -1  # identity of a face that nobody could name; it serves reconstruction only

BoxFractions = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class CropFace:
    """A face in a crop.

    face       index into `Cache.faces`
    box        fractions of the crop
    landmarks  float32 [5, 2], fractions of the crop
    """

    face: int
    box: BoxFractions
    landmarks: np.ndarray


@dataclass(frozen=True, eq=False)
class CropEntry:
    """One cut of an image, scaled to a size of its bucket.

    width_px, height_px  multiples of 16
    faces                the image's chosen faces from left to right; every crop of an image shows them all
    latent               key of the posterior among the cache's tensors
    """

    width_px: int
    height_px: int
    faces: tuple[CropFace, ...]
    latent: str = ""


@dataclass(frozen=True, eq=False)
class ImageEntry:
    """One photo.

    index     place in `Cache.images`
    name      its path below the data folder, with slashes
    source    where the photo was when it was prepared
    digest    SHA-256 of its pixels
    caption   what its text embedding says
    crops     the cached cuts; `Cache.latent` reads them
    held_out  kept for validation: never trained on, neither as target nor as reference
    text      key of the caption's embedding among the cache's tensors
    """

    index: int
    name: str
    source: str
    digest: str
    caption: str
    crops: tuple[CropEntry, ...]
    held_out: bool = False
    text: str = ""

    @property
    def people(self) -> int:
        """Number of chosen faces."""
        return len(self.crops[0].faces) if self.crops else 0


@dataclass(frozen=True, eq=False)
class FaceRecord:
    """Where a chosen face is and whose it is.

    identity   index into `Cache.identities`, or UNKNOWN
    image    index into `Cache.images`
    box        fractions of the whole photo
    landmarks  float32 [5, 2], fractions of the whole photo
    flags      what is wrong with it in single words: small, blurred, faint, profile, partial_profile
    siglip     key of its SigLIP tokens among the cache's tensors, empty where none were made
    jittered   keys of the tokens of jittered crops; every face of a cache has as many
    """

    identity: int
    image: int
    box: BoxFractions
    landmarks: np.ndarray
    flags: tuple[str, ...] = ()
    siglip: str = ""
    jittered: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FaceEntry:
    """A face with what the adapter reads.

    record          where it is and whose
    arcface         float32 [512], raw
    siglip          float32 [tokens, width] of its square crop, or None
    siglip_flipped  the same of the mirrored crop, or None
    """

    record: FaceRecord
    arcface: Tensor
    siglip: Tensor | None
    siglip_flipped: Tensor | None

    @property
    def identity(self) -> int:
        return self.record.identity


@dataclass(frozen=True, eq=False)
class Negatives:
    """Faces to be unlike.

    embeddings  float32 [N, 512], raw
    identities  int32 [N]: index into `Cache.identities` for the user's own people, -1 for foreign faces, -2 for random
                embeddings that fill the bank
    """

    embeddings: Tensor
    identities: Tensor


FOREIGN = -1
FILLED = -2
# Of caches that do not say for which base model they are: there was one, and its texts had these tensors.
FIRST_BASE, FIRST_TEXTS = "flux.1", ("t5", "pooled")
