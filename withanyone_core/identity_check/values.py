"""What the check passes from step to step: photos, people, images, and what was found of each person."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ..canvas import BoxPx
from ..metrics.case import FaceEmbeddings
from .appearance import Look
from .registration import Album

Name = Literal["kept", "drifted", "swapped", "dominated", "blended", "pasted", "lost", "extra person", "unclear"]
NAMES: tuple[Name, ...] = (
    *("kept", "drifted", "swapped", "dominated", "blended", "pasted", "lost", "extra person", "unclear"),
)
FAULTS = tuple(name for name in NAMES if name not in ("kept", "unclear"))
NOBODY = "nobody expected"  # whom an extra person is counted under


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image with the faces that were found in it.

    path     the file
    size_px  width and height
    faces    by descending detection score
    looks    of each face, None where the image itself is not known
    """

    path: Path
    size_px: tuple[int, int]
    faces: FaceEmbeddings
    looks: tuple[Look, ...] | None


@dataclass(frozen=True, eq=False)
class Photo:
    """The face of somebody in one of their photos.

    embedding  float64 [d], of length 1
    look       None where only the embedding is known
    """

    path: Path
    box_px: BoxPx
    embedding: np.ndarray
    look: Look | None


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody who should be in the images, by at least one photo."""

    name: str
    photos: tuple[Photo, ...]

    @property
    def embeddings(self) -> np.ndarray:
        """float64 [photos, d], each of length 1."""
        return np.stack([photo.embedding for photo in self.photos])

    @cached_property
    def album(self) -> Album | None:
        """What copies are found by, None where a photo's look is not known."""
        looks = [photo.look for photo in self.photos if photo.look is not None]
        return Album(looks) if len(looks) == len(self.photos) else None


@dataclass(frozen=True, eq=False)
class People:
    """Everybody who can be expected.

    alike  pairs of names that seem to be one person; who of them it is cannot be known
    notes  about photos and folders that could not be used as they are
    """

    people: tuple[Person, ...]
    alike: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(person.name for person in self.people)


@dataclass(frozen=True)
class ImageFile:
    """An image to be checked.

    variant  the sub-folder it lies in, empty for the folder itself
    name     its path below that, with forward slashes
    """

    variant: str
    name: str
    path: Path

    @property
    def label(self) -> str:
        return f"{self.variant}/{self.name}" if self.variant else self.name


@dataclass(frozen=True)
class Finding:
    """One person in one image.

    person      whose
    name        one of NAMES
    other       who else is concerned: swapped with, dominated by or blended with whom, or whom an extra face is like
    box_px      of the face that was taken for the person, None without one
    similarity  mean cosine of that face with the person's photos, None without a face
    low, high   95 % interval of it, from how far the photos differ
    nearest     its highest cosine with a single photo of the person
    apart_px    how far features lie from those of the photo whose look is nearest, `registration.Reference.apart_px`;
                None where it was not compared: the looks are unknown, or the face is not theirs
    photo       place among the person's photos of the one it is most like: by look where it was pasted, else by cosine
    odds        log odds of the name against the next best, with the lower end of their 95 % interval; None where
                nothing was weighed
    detail      readable, may be empty
    """

    person: str
    name: Name
    other: str = ""
    box_px: BoxPx | None = None
    similarity: float | None = None
    low: float | None = None
    high: float | None = None
    nearest: float | None = None
    apart_px: float | None = None
    photo: int | None = None
    odds: tuple[float, float] | None = None
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        return self.name in FAULTS

    @property
    def text(self) -> str:
        """e.g. "swapped with Ben", "extra person like Ann"."""
        joint = {"swapped": "with", "dominated": "by", "blended": "with", "extra person": "like"}.get(self.name, "")
        return f"{self.name} {joint} {self.other}" if self.other and joint else self.name


@dataclass(frozen=True)
class Checked:
    """One image's findings: everybody who was expected, then every extra face."""

    image: ImageFile
    size_px: tuple[int, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recognizer:
    """Which judge compared the faces, and under which licence.

    name     for people, such as "dlib ResNet (2017)"
    parts    each model that took part and its licence
    settings that change what is found
    """

    name: str
    parts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, float | str] = field(default_factory=dict)
    trained_with: bool = False
