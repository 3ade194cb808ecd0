"""Whether the photos in a person's folder show one person, and which face in each photo that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse.csgraph import connected_components

from withanyone_core.tolerance import SLACK

from .reasons import Reason

NEIGHBOUR_COSINE = 0.5  # DBSCAN's radius, as a cosine
LEAST_NEIGHBOURS = 3
MEDOID_UNDER = 5  # photos: fewer have no density to speak of
MEDOID_COSINE = 0.4
MERGE_COSINE = 0.5
ALIKE_SHOWN = 10
SECOND_PERSON_FRACTION = 0.25  # of the photos; fewer strangers are photos that went astray


@dataclass(frozen=True, eq=False)
class FolderCheck:
    """A person's folder.

    accepted  number of the photo to the number of the person's face in it
    outliers  number of the photo to why it is left out
    centre    float32 [512], unit mean direction of the accepted faces; zeros without any
    problem   why the folder cannot be used; empty where it can
    """

    person: str
    accepted: Mapping[int, int]
    outliers: Mapping[int, Reason]
    centre: np.ndarray
    problem: str = ""


@dataclass(frozen=True, eq=False)
class _Faces:
    """All faces of a folder: unit embeddings [n, d], the photo of each and its number in there."""

    embeddings: np.ndarray
    photos: np.ndarray
    numbers: np.ndarray
    names: Sequence[str]
    cosines: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cosines", self.embeddings @ self.embeddings.T)

    def some(self, photos: Sequence[int]) -> str:
        shown = ", ".join(self.names[photo] for photo in sorted(photos)[:3])
        return shown + (f" and {len(photos) - 3} more" if len(photos) > 3 else "")


def check_folder(person: str, names: Sequence[str], embeddings: Sequence[np.ndarray]) -> FolderCheck:
    """Which face is the person's in each photo of the folder.

    names       of the photos
    embeddings  raw embeddings [faces, 512] of each photo, by descending detection score; photos without faces have none
    """
    faces = _faces(names, embeddings)
    with_faces = sorted(set(faces.photos.tolist()))
    if not with_faces:
        return FolderCheck(person, {}, {}, np.zeros(512, np.float32))
    if len(with_faces) < MEDOID_UNDER:
        members, others = _around_medoid(faces, with_faces)
    else:
        members, others = _densest(faces)
    chosen = _one_a_photo(faces, members)
    left = [photo for photo in with_faces if photo not in chosen]
    problem = _problem(person, faces, chosen, left, others)
    centre = _centre(faces, list(chosen.values()))
    return FolderCheck(
        person,
        {photo: int(faces.numbers[face]) for photo, face in chosen.items()},
        {photo: _why(faces, photo, centre) for photo in left},
        centre,
        problem,
    )


def alike(centres: Mapping[str, np.ndarray]) -> list[str]:
    """A warning for every two folders that may show the same person, the most alike first, at most ALIKE_SHOWN."""
    people = list(centres)
    embeddings = np.stack([centres[person] for person in people]) if people else np.zeros((0, 1))
    cosines = np.triu(embeddings @ embeddings.T, k=1)
    pairs = np.argwhere(cosines > MERGE_COSINE + SLACK)
    pairs = pairs[np.argsort(-cosines[tuple(pairs.T)], kind="stable")]
    found = [
        f"{people[first]} and {people[second]} look like one person (cosine of their centres "
        f"{cosines[first, second]:.2f}, strangers stay under {MERGE_COSINE:.1f}). If they are, put the photos into one "
        "folder: each would be trained away from the other."
        for first, second in pairs[:ALIKE_SHOWN]
    ]
    if len(pairs) > ALIKE_SHOWN:
        found.append(f"{len(pairs) - ALIKE_SHOWN} more pairs of folders look like one person.")
    return found


def clusters(cosines: np.ndarray, least_cosine: float, least_neighbours: int) -> np.ndarray:
    """DBSCAN on a matrix of cosines [n, n]: the cluster of each, -1 for noise.

    An embedding is its own neighbour. One on the border of several clusters joins that of its nearest core.
    """
    near = cosines >= least_cosine - SLACK
    core = near.sum(axis=1) >= least_neighbours
    labels = np.full(len(cosines), -1)
    if not core.any():
        return labels
    _, labels[core] = connected_components(near[np.ix_(core, core)], directed=False)
    reach = np.where(near & core[None], cosines, -np.inf)
    border = ~core & np.isfinite(reach).any(axis=1)
    labels[border] = labels[reach[border].argmax(axis=1)]
    return labels


def _faces(names: Sequence[str], embeddings: Sequence[np.ndarray]) -> _Faces:
    found = [each.reshape(len(each), -1) for each in embeddings if len(each)]
    stacked = np.concatenate(found).astype(np.float64) if found else np.zeros((0, 512))
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    counts = [len(each) for each in embeddings]
    return _Faces(
        stacked / np.maximum(lengths, 1e-12),
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, int)]),
        names,
    )


def _around_medoid(faces: _Faces, photos: Sequence[int]) -> tuple[np.ndarray, list[list[int]]]:
    """Faces near the one that the other photos' faces are nearest to, and photos that agree on somebody else."""
    agreement = np.zeros(len(faces.photos))
    for photo in photos:
        there = faces.photos == photo
        agreement += np.where(there, 0.0, faces.cosines[:, there].max(axis=1))
    medoid = int(np.flatnonzero(agreement >= agreement.max() - SLACK)[0])  # the first of equals
    members = faces.cosines[medoid] >= MEDOID_COSINE - SLACK
    members[medoid] = True
    left = [photo for photo in photos if photo not in set(faces.photos[members].tolist())]
    others = [
        [first, second]
        for number, first in enumerate(left)
        for second in left[number + 1 :]
        if faces.cosines[np.ix_(faces.photos == first, faces.photos == second)].max() >= MEDOID_COSINE - SLACK
    ]
    return members, others


def _densest(faces: _Faces) -> tuple[np.ndarray, list[list[int]]]:
    """The faces of the cluster seen in most photos, and for each other cluster the photos without the first."""
    labels = clusters(faces.cosines, NEIGHBOUR_COSINE, LEAST_NEIGHBOURS)
    known = list(range(labels.max() + 1))
    if not known:
        return labels >= 0, []
    seen = {label: set(faces.photos[labels == label].tolist()) for label in known}
    main = max(known, key=lambda label: (len(seen[label]), -label))
    rest = [sorted(seen[label] - seen[main]) for label in known if label != main]
    total = len(set(faces.photos.tolist()))
    least = max(LEAST_NEIGHBOURS, SECOND_PERSON_FRACTION * total)
    return labels == main, [photos for photos in rest if len(photos) >= least]


def _one_a_photo(faces: _Faces, members: np.ndarray) -> dict[int, int]:
    """For each photo with members the one nearest to them all."""
    chosen: dict[int, int] = {}
    nearness = faces.cosines[:, members].sum(axis=1)
    for face in np.flatnonzero(members):
        photo = int(faces.photos[face])
        if photo not in chosen or nearness[face] > nearness[chosen[photo]] + SLACK:
            chosen[photo] = int(face)
    return chosen


def _problem(
    person: str, faces: _Faces, chosen: Mapping[int, int], left: Sequence[int], others: Sequence[Sequence[int]]
) -> str:
    if others:
        return (
            f"The folder of {person} shows two people: one in {len(chosen)} photos ({faces.some(list(chosen))}), "
            f"another in {faces.some(others[0])}. Give each person a folder of their own; photos of both together "
            "belong into groups."
        )
    if left and len(chosen) <= len(left):
        highest = faces.cosines[faces.photos[:, None] != faces.photos[None]].max(initial=-1.0)
        return (
            f"The faces in the folder of {person} disagree: of {len(chosen) + len(left)} photos only {len(chosen)} "
            f"show the same face (the largest cosine between two is {highest:.2f}). Check that all show {person}, "
            "with the face large, sharp and uncovered."
        )
    return ""


def _centre(faces: _Faces, chosen: Sequence[int]) -> np.ndarray:
    if not chosen:
        return np.zeros(faces.embeddings.shape[1], np.float32)
    mean = faces.embeddings[list(chosen)].mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def _why(faces: _Faces, photo: int, centre: np.ndarray) -> Reason:
    best = float((faces.embeddings[faces.photos == photo] @ centre).max())
    return Reason("nobody in it looks like the rest of the folder", f"cosine {best:.2f} with their mean")
