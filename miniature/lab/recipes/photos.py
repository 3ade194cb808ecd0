"""Folders of photos as `training/prepare.py` reads them.

identities/person_0000042/00.png   portraits, one person each
groups/00000.png and .yaml         scenes of two to four of them, and who they are from left to right
captions/.../STEM.txt              what each image shows
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from ...world.captions import NOTHING_OMITTED, SILENT, Omitted, caption
from ...world.person import person_of
from ...world.renderer import Image, render
from ...world.scene import SIDE_PX, Scene, draw_portrait, draw_scene

GROUP_SIZES = (2, 3, 4)
_CHUNK = 16
_NICE = 5  # rendering yields to whatever else the machine does
_Wanted = tuple[str, int, int]  # name, person or -1 for a group, number


@dataclass(frozen=True)
class PhotoSet:
    """What is rendered.

    first, identities  people of index first ... first + identities - 1
    portraits          of each person
    groups             images of two to four of these people
    size_px            side of every image
    seed               of looks and scenes: the same set has the same pixels
    silent             fraction of captions that leave out expressions and directions
    """

    first: int
    identities: int
    portraits: int
    groups: int
    size_px: int = SIDE_PX
    seed: int = 0
    silent: float = 0.0

    def __post_init__(self) -> None:
        if self.groups and self.identities < max(GROUP_SIZES):
            raise ValueError(f"Groups show up to {max(GROUP_SIZES)} people, and there are {self.identities}.")

    @property
    def people(self) -> range:
        return range(self.first, self.first + self.identities)


@dataclass(frozen=True, eq=False)
class Photo:
    """A image with what is written about it. `name` is its path below the folder, without suffix."""

    name: str
    image: Image
    caption: str
    people: tuple[str, ...] = ()


def person_name(index: int) -> str:
    return f"person_{index:07d}"


def portrait(photos: PhotoSet, person: int, number: int) -> Photo:
    """The numbered portrait of a person; half of them, by turns, are scenes with nobody else."""
    rng = np.random.default_rng([photos.seed, 1, person, number])
    scene = (draw_scene(rng, [person_of(person)]), draw_portrait(rng, person_of(person)))[number % 2]
    name = f"identities/{person_name(person)}/{number:02d}"
    return photo_of(name, scene, photos.size_px, omitted=_omitted(photos, rng))


def group(photos: PhotoSet, number: int) -> Photo:
    """The numbered image of several people, who are told apart by where they stand from left to right."""
    rng = np.random.default_rng([photos.seed, 2, number])
    count = GROUP_SIZES[number % len(GROUP_SIZES)]
    chosen = photos.first + rng.choice(photos.identities, count, replace=False)
    scene = draw_scene(rng, [person_of(int(index)) for index in chosen])
    names = [person_name(int(index)) for index in chosen]
    order = np.argsort([placed.center[0] for placed in scene.people])
    people = tuple(names[place] for place in order)
    return photo_of(f"groups/{number:05d}", scene, photos.size_px, people, _omitted(photos, rng))


def _omitted(photos: PhotoSet, rng: np.random.Generator) -> Omitted:
    # Drawn after the scene, whose pixels do not depend on what is said of them.
    return SILENT if rng.random() < photos.silent else NOTHING_OMITTED


def write_photos(photos: PhotoSet, folder: Path, workers: int | None = None) -> int:
    """Renders what the folder lacks, in so many processes (default: one a core); returns the images of the set."""
    planned = [*_portraits(photos), *_groups(photos)]
    missing = [each for each in planned if not (folder / f"{each[0]}.png").is_file()]
    for _ in tqdm(_written(photos, missing, folder, workers), desc="photos", total=len(missing), disable=None):
        pass
    return len(planned)


def _written(photos: PhotoSet, missing: Sequence[_Wanted], folder: Path, workers: int | None) -> Iterable[None]:
    write = partial(_write, photos, folder)
    if workers == 1:
        yield from map(write, missing)
        return
    with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn"), os.nice, (_NICE,)) as pool:
        yield from pool.map(write, missing, chunksize=_CHUNK)


def _portraits(photos: PhotoSet) -> Iterator[_Wanted]:
    for person in photos.people:
        for number in range(photos.portraits):
            yield f"identities/{person_name(person)}/{number:02d}", person, number


def _groups(photos: PhotoSet) -> Iterator[_Wanted]:
    for number in range(photos.groups):
        yield f"groups/{number:05d}", -1, number


def write_photo(photo: Photo, folder: Path) -> None:
    """One image with its words beside it; the image last, so that what is there is whole."""
    path = folder / f"{photo.name}.png"
    words = folder / "captions" / Path(photo.name).relative_to(Path(photo.name).parts[0])
    for file in (path, words):
        file.parent.mkdir(parents=True, exist_ok=True)
    words.with_suffix(".txt").write_text(photo.caption + "\n", encoding="utf-8")
    if photo.people:
        path.with_suffix(".yaml").write_text(yaml.safe_dump({"faces": list(photo.people)}), encoding="utf-8")
    part = path.with_name(f"{path.stem}.part.png")
    if not cv2.imwrite(str(part), photo.image.pixels[..., ::-1]):
        raise OSError(f"{path} could not be written. Is there space on the disk?")
    os.replace(part, path)


def photo_of(
    name: str,
    scene: Scene,
    size_px: int = SIDE_PX,
    people: tuple[str, ...] = (),
    omitted: Omitted = NOTHING_OMITTED,
) -> Photo:
    """A square photo of a scene with its caption."""
    return Photo(name, render(scene, size_px, size_px), caption(scene, omitted), people)


def _write(photos: PhotoSet, folder: Path, which: _Wanted) -> None:
    _, person, number = which
    write_photo(group(photos, number) if person < 0 else portrait(photos, person, number), folder)
