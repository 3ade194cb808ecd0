"""Folders of photos to people: whose face is meant, which photos are strays, and who is there twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from unicodedata import normalize

import numpy as np

from ..metrics.case import FaceEmbeddings
from ..metrics.similarity import unit
from .appearance import Look
from .calibration import Levels
from .images import SUFFIXES
from .reading import FaceReader, Unreadable
from .registration import Reference
from .values import People, Person, Photo

# From this cosine, and nearer than this in look, two photos of a folder are one, saved twice: to a good recognizer two
# photos of a person can be as like each other as that.
SAME_PHOTO, SAME_LOOK_PX = 0.985, 0.12
# Where a stray begins, between strangers (0) and photos of one person (1): below the middle, for hard photos.
STRAY, ONE_PERSON = 0.35, 0.8
PRIOR_WEIGHT = 2.0  # so many people's or pairs' worth


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The faces of a photo. `units` are their embeddings, float64 [faces, d] of length 1."""

    path: Path
    faces: FaceEmbeddings
    units: np.ndarray
    looks: tuple[Look, ...] | None


def read_people(
    folder: Path, reader: FaceReader, levels: Levels, on_photo: Callable[[], object] = lambda: None
) -> People:
    """Everybody of whom the folder holds photos: a sub-folder each, or a single photo beside them.

    levels  what the recognizer is known to say of one person's and of two people's photos, before any photo is seen

    Raises ValueError where there is no such folder, or nobody in it can be used.
    """
    notes: list[str] = []
    found = {}
    for name, paths in photo_files(folder).items():
        photos = [_candidates(path, reader, notes, on_photo) for path in paths]
        photos = [photo for photo in photos if photo is not None]
        if photos:
            found[name] = _chosen(name, photos, notes)
        else:
            notes.append(f"{name}: no face was found in {_counted(len(paths), 'photo')}; the person is left out.")
    if not found:
        raise ValueError(f"No photo in {folder} shows a face that could be used. {' '.join(notes)}")
    same, other = _middle_levels(list(found.values()), levels)
    people = [_without_strays(name, photos, other + STRAY * (same - other), notes) for name, photos in found.items()]
    alike = _alike(people, other + ONE_PERSON * (same - other))
    notes += [
        f"{first} and {second} look like one person in two folders; who of them it is cannot be known. "
        "Put the photos into one folder."
        for first, second in alike
    ]
    return People(tuple(people), tuple(alike), tuple(notes))


def photo_files(folder: Path) -> dict[str, list[Path]]:
    """The photos of everybody by name. Raises ValueError where there are none, or two names are one."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. Give a folder with a sub-folder of photos for each person.")
    found: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        paths = sorted(path for path in entry.rglob("*") if _is_image(path)) if entry.is_dir() else [entry]
        name = normalize("NFC", entry.name if entry.is_dir() else entry.stem)
        if not entry.is_dir() and not _is_image(entry):
            continue
        if name in found:
            raise ValueError(f"{folder} has two entries that are called {name}. Rename one of them.")
        found[name] = paths
    if not any(found.values()):
        raise ValueError(f"{folder} holds no photo ({', '.join(SUFFIXES)}), nor do its sub-folders.")
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _candidates(path: Path, reader: FaceReader, notes: list[str], on_photo: Callable[[], object]) -> _Candidates | None:
    try:
        seen = reader.read(path, padded=True)
    except Unreadable as error:
        notes.append(f"{error}. The photo is left out.")
        return None
    finally:
        on_photo()
    faces = seen.faces
    if not faces.count:
        notes.append(f"{path}: no face was found. The photo is left out.")
        return None
    return _Candidates(path, faces, unit(faces.embeddings, str(path)), seen.looks)


def _chosen(name: str, photos: Sequence[_Candidates], notes: list[str]) -> list[Photo]:
    """Of each photo the face that is most like the faces of the others; of a single photo the surest one."""
    chosen = []
    for photo in photos:
        others = [other for other in photos if other is not photo]
        votes = [(photo.units @ other.units.T).max(axis=1) for other in others]
        index = int(np.mean(votes, axis=0).argmax()) if votes else 0
        if photo.faces.count > 1 and not others:
            notes.append(
                f"{name}: {photo.path.name} shows {photo.faces.count} faces and is the only photo; the surest face "
                "counts. Cut the photo, or add another one."
            )
        box_px = tuple(photo.faces.boxes_px[index].tolist())
        look = None if photo.looks is None else photo.looks[index]
        chosen.append(Photo(photo.path, box_px, photo.units[index], look))
    return chosen


def _middle_levels(everybody: Sequence[Sequence[Photo]], levels: Levels) -> tuple[float, float]:
    """Medians, which a few strays do not move, of pairs of one folder and of two."""
    stacks = [np.stack([photo.embedding for photo in photos]) for photos in everybody]
    same = [float(np.median((stack @ stack.T)[np.triu_indices(len(stack), 1)])) for stack in stacks if len(stack) > 1]
    centres = np.stack([stack.mean(axis=0) for stack in stacks])
    other = (centres @ centres.T)[np.triu_indices(len(centres), 1)].tolist()
    return _with_prior(same, levels.same), _with_prior(other, levels.other)


def _with_prior(values: Sequence[float], prior: float) -> float:
    median = float(np.median(values)) if len(values) else prior
    return (len(values) * median + PRIOR_WEIGHT * prior) / (len(values) + PRIOR_WEIGHT)


def _without_strays(name: str, photos: Sequence[Photo], least: float, notes: list[str]) -> Person:
    kept: list[Photo] = []
    for photo in photos:
        twin = next((other for other in kept if _is_one(photo, other)), None)
        if twin is None:
            kept.append(photo)
        else:
            notes.append(f"{name}: {photo.path.name} is {twin.path.name} once more and counts once.")
    stack = np.stack([photo.embedding for photo in kept])
    groups = _groups(stack @ stack.T >= least)
    largest = max(groups, key=len)
    for group in groups:
        if group is not largest:
            names = ", ".join(kept[index].path.name for index in group)
            whose = f"the other {len(largest)}" if len(largest) > 1 else kept[largest[0]].path.name
            notes.append(
                f"{name}: {names} {'seems' if len(group) == 1 else 'seem'} to show somebody else than {whose} and "
                f"{'is' if len(group) == 1 else 'are'} left out. A folder is one person."
            )
    return Person(name, tuple(kept[index] for index in largest))


def _is_one(photo: Photo, other: Photo) -> bool:
    if other.embedding @ photo.embedding < SAME_PHOTO:
        return False
    if photo.look is None or other.look is None:
        return True
    return Reference(other.look).apart_px(photo.look) < SAME_LOOK_PX


def _groups(linked: np.ndarray) -> list[list[int]]:
    """Connected parts of a graph, bool [n, n], in the order of their first members."""
    waiting, groups = list(range(len(linked))), []
    while waiting:
        group, edge = [waiting[0]], [waiting.pop(0)]
        while edge:
            here = edge.pop()
            near = [index for index in waiting if linked[here, index]]
            waiting = [index for index in waiting if index not in near]
            group += near
            edge += near
        groups.append(sorted(group))
    return groups


def _alike(people: Sequence[Person], least: float) -> list[tuple[str, str]]:
    centres = np.stack([person.embeddings.mean(axis=0) for person in people])
    cosines = centres @ centres.T
    return [
        (people[first].name, people[second].name)
        for first, second in combinations(range(len(people)), 2)
        if cosines[first, second] >= least
    ]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
