"""The protocol of whatever finds and recognizes faces: insightface, OpenCV, dlib, or a stand-in in a test."""

from typing import Protocol

import numpy as np

from ..identity import Face


class FaceAnalysis(Protocol):
    """Whatever finds faces.

    It may also have `best_score(photo) -> float`, which error messages then quote, and `model_name`, which says whose
    embeddings these are: embeddings of different recognizers cannot be compared.
    """

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        """The faces of an RGB photo [H, W, 3] uint8 by descending detection score, each with its ArcFace embedding."""
        ...
