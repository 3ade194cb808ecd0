"""Who is who in a photo of several people."""

from collections.abc import Mapping, Sequence

import numpy as np

from withanyone_core.metrics.matching import best_assignment
from withanyone_core.tolerance import SLACK

LEAST_COSINE = 0.4
LEAST_MARGIN = 0.1


def assign_names(
    embeddings: np.ndarray, centres: Mapping[str, np.ndarray], fixed: Mapping[int, str] | None = None
) -> dict[int, str]:
    """The person of each face that can be identified, one face a person.

    embeddings  raw embeddings [faces, d]
    centres     of the people who may be there, unit embeddings [d]
    fixed       faces whose person is known already; they are in the answer

    The assignment with the largest sum of cosines; of that a face keeps its person if the cosine is above 0.4 and 0.1
    above that of the next best person. Everybody else stays unknown.
    """
    fixed = dict(fixed or {})
    people = [person for person in centres if person not in fixed.values()]
    free = [face for face in range(len(embeddings)) if face not in fixed]
    if not people or not free:
        return fixed
    embeddings = embeddings[free].astype(np.float64)
    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    everybody = units @ np.stack([centres[person] for person in centres]).T
    cosines = everybody[:, [list(centres).index(person) for person in people]]
    for row, column in best_assignment(cosines):
        cosine = cosines[row, column]
        others = np.delete(everybody[row], list(centres).index(people[column]))
        margin = cosine - others.max(initial=-1.0)
        if cosine > LEAST_COSINE + SLACK and margin > LEAST_MARGIN + SLACK:
            fixed[free[row]] = people[column]
    return fixed


def names_from_left(middles: Sequence[float], names: Sequence[str | None]) -> dict[int, str] | None:
    """Faces to names given from left to right; None where the numbers of faces and names differ.

    middles  horizontal middle of each face
    """
    if len(middles) != len(names):
        return None
    order = sorted(range(len(middles)), key=lambda face: middles[face])
    return {face: name for face, name in zip(order, names, strict=True) if name is not None}
