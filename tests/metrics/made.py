"""Faces made for tests: random people whose embeddings differ a little from image to image, side by side."""

import numpy as np
from withanyone_pack.withanyone_core.metrics.case import Case, FaceEmbeddings

WIDTH, SIDE_PX, GAP_PX = 64, 40.0, 100.0


def people(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH))


def image(embeddings: np.ndarray, noise: float = 0.0, seed: int = 1, places: list[int] | None = None) -> FaceEmbeddings:
    """Faces with these embeddings, the i-th at places[i] from the left, in boxes of 40 pixels every 100 pixels."""
    embeddings = np.asarray(embeddings, dtype=np.float64).reshape(-1, WIDTH)
    seen = embeddings + noise * np.random.default_rng(seed).normal(size=embeddings.shape)
    left = np.array(list(range(len(embeddings))) if places is None else places, dtype=float) * GAP_PX
    boxes = np.stack([left, 0 * left, left + SIDE_PX, 0 * left + SIDE_PX], axis=1).reshape(-1, 4)
    scores = np.linspace(0.99, 0.9, len(embeddings))
    return FaceEmbeddings(boxes.astype(np.float32), scores.astype(np.float32), seen.astype(np.float32))


def box(place: int, grown: float = 5.0) -> tuple[float, float, float, float]:
    left = place * GAP_PX
    return (left - grown, -grown, left + SIDE_PX + grown, SIDE_PX + grown)


def references(embeddings: np.ndarray, noise: float = 0.5) -> tuple[FaceEmbeddings, ...]:
    return tuple(image(embedding[None], noise, seed=100 + index) for index, embedding in enumerate(embeddings))


def case(count: int = 3, **changes) -> Case:
    """A case whose people are generated, photographed and referenced with independent noise."""
    who = people(count)
    given = {
        "name": "made",
        "generated": image(who, 0.5, seed=11),
        "truth": image(who, 0.5, seed=12),
        "references": references(who),
    }
    return Case(**{**given, **changes})
