"""Cosines and angles between face embeddings, in float64."""

import numpy as np

# The released evaluator divides by norm + 1e-6, so that an embedding's cosine with itself is a hair below 1.
NORM_OFFSET = 1e-6
SHORTEST = 1e-12


def unit(embeddings: np.ndarray, whose: str) -> np.ndarray:
    """Embeddings [n, d] divided by their length, float64 [n, d].

    Raises ValueError, naming the image by `whose`, for an embedding that is not finite or has no direction.
    """
    exact = np.asarray(embeddings, dtype=np.float64)
    finite = np.all(np.isfinite(exact), axis=1)
    # A length of NaN would pass the comparison below, so rows that are not finite count as zeros.
    lengths = np.linalg.norm(np.where(finite[:, None], exact, 0.0), axis=1)
    for face in np.flatnonzero(lengths < SHORTEST):
        wrong = "has numbers that are not finite (NaN or infinite)" if not finite[face] else "is all zeros"
        raise ValueError(
            f"The embedding of face {face + 1} in {whose} {wrong}; no likeness can be computed from it. Detect that "
            "image again, or leave it out; if it happens with every image, the recognizer's file is damaged."
        )
    return exact / (lengths + NORM_OFFSET)[:, None]


def cosine_matrix(units: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosines [n, m] of unit embeddings [n, d] with [m, d].

    Raises ValueError where their lengths differ: they are of two recognizers.
    """
    if units.shape[1] != others.shape[1]:
        raise ValueError(
            f"Embeddings of {units.shape[1]} and of {others.shape[1]} numbers cannot be compared: two recognizers made "
            "them. Embed all images with one judge."
        )
    return units @ others.T


def angle(cosine: float) -> float:
    """The angle in radians, 0 to pi, of a cosine that rounding may have carried past 1."""
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))
