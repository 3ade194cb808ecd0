"""The models of prepare.py, as protocols, so that the real models and small stand-ins are used alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from withanyone_core.identity import Face

from ..cache.entries import FIRST_BASE


class FaceAnalysis(Protocol):
    """Finds faces in an RGB photo [H, W, 3] uint8, by descending score, each with its raw ArcFace embedding [512]."""

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]: ...


class SecondRecognizer(Protocol):
    """A recognizer that no loss uses: raw embeddings float32 [faces, width]."""

    def embed(self, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray: ...


class ImageEncoder(Protocol):
    """RGB uint8 [H, W, 3], sides multiples of 16, to mean and log-variance [channels, H / 8, W / 8]."""

    def encode(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]: ...


class TextEncoder(Protocol):
    """A text to the tensors that the base model reads, by the names `names`; `release` gives its memory back."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def encode(self, text: str) -> Mapping[str, Tensor]: ...

    def release(self) -> None: ...


class TokenEncoder(Protocol):
    """A face crop, RGB uint8 [512, 512, 3], to SigLIP's post-norm patch tokens [tokens, width]."""

    def tokens(self, crop: np.ndarray) -> Tensor: ...


class Captioner(Protocol):
    """An RGB photo [H, W, 3] uint8 to a line of text."""

    fingerprint: str

    def caption(self, photo: np.ndarray) -> str: ...


@dataclass(frozen=True, eq=False)
class PreparationModels:
    """All models of a run.

    fingerprints  by kind (faces, second, image, text, siglip, captions): changes with the model's files and settings,
                  and is all that tells one model's results from another's
    files         the model files behind them: name to SHA-256
    base          the base model that images and texts are encoded for
    """

    faces: FaceAnalysis
    image: ImageEncoder
    text: TextEncoder
    fingerprints: Mapping[str, str]
    siglip: TokenEncoder | None = None
    second: SecondRecognizer | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    captioner: Captioner | None = None
    base: str = FIRST_BASE

    def __post_init__(self) -> None:
        used = {"faces": self.faces, "image": self.image, "text": self.text}
        used |= {"siglip": self.siglip, "second": self.second, "captions": self.captioner}
        missing = [kind for kind, model in used.items() if model is not None and not self.fingerprints.get(kind)]
        if missing:
            raise ValueError(f"The model for {missing[0]} has no fingerprint, so its results cannot be kept apart.")
