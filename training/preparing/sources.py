"""Which photos there are, whose they are said to be, and what is written about them: plain folders.

identities/NAME/*.jpg   photos of one person each, in subfolders too
groups/*.jpg            photos of several people; names are found by face, or read from groups/STEM.yaml
negatives/*.jpg         any faces of other people
captions/*.txt          of the same stem, in the same subfolder or right below captions; or a .txt beside the photo

Captions may also end in .caption, files of names in .yml, and both may keep the photo's ending: x.png.txt.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml

from withanyone_core.files.unicode import one_form

from ..configuration.texts import QUOTES
from .folder import (
    CAPTION_SUFFIXES,
    CAPTIONS,
    GROUPS,
    IDENTITIES,
    NAMES_SUFFIXES,
    NEGATIVES,
    Files,
    files_in,
    unread_photos,
)

logger = logging.getLogger("withanyone")

NOBODY = "?"

Kind = Literal["identity", "group", "negative"]


@dataclass(frozen=True)
class Location:
    """Bytes of a photo: a whole file, or a part of a tar.

    size  in bytes, None for the whole file
    """

    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(-1 if self.size is None else self.size)


@dataclass(frozen=True)
class Source:
    """A photo before it is read.

    name     path below the data folder, with slashes, in one Unicode form
    kind     identity: a photo of `person`; group: of whoever is found; negative: of nobody who is trained
    names    who is in it, where somebody has said so
    ordered  whether `names` go from left to right, None in it being a stranger
    caption  None where there is none
    beside   the files that names and caption were read from
    """

    name: str
    kind: Kind
    location: Location
    person: str | None = None
    names: tuple[str | None, ...] = ()
    ordered: bool = False
    caption: str | None = None
    beside: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that was read for it."""
        return self.location.path, *self.beside


def plain_sources(data: Path) -> tuple[Source, ...]:
    """The photos of a data folder, people first.

    Raises FileNotFoundError without the folder, ValueError where it has no photos, or a groups/*.yaml names somebody
    who has no folder.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"There is no data folder {data}. {_layout(data)}")
    files = files_in(data)
    people = _people(data)
    # A photo right in identities is nobody's.
    found = [
        Source(name, "identity", Location(path), name.split("/")[1])
        for name, path in files.photos(IDENTITIES)
        if name.count("/") > 1
    ]
    groups = [Source(name, "group", Location(path)) for name, path in files.photos(GROUPS)]
    found += [_with_names(source, files, people) for source in groups]
    if not found:
        raise ValueError(f"No photos were found in {data}. {_hint(data, files)}{_layout(data)}")
    if not people:
        raise ValueError(
            f"{data} has {len(groups)} photos in {GROUPS}, but nobody's own: without {IDENTITIES}/NAME/*.jpg no face "
            "in them has a name. Make a folder of 10 to 50 photos for each person."
        )
    _warn_of_empty(data, people, found)
    found += [Source(name, "negative", Location(path)) for name, path in files.photos(NEGATIVES)]
    return tuple(_with_caption(source, files) for source in found)


def _people(data: Path) -> list[str]:
    return sorted({one_form(path.name) for path in (data / IDENTITIES).glob("*") if path.is_dir()})


def _warn_of_empty(data: Path, people: Sequence[str], found: Sequence[Source]) -> None:
    with_photos = {source.person for source in found}
    for person in people:
        if person not in with_photos:
            logger.warning("%s has no photos, so nobody of this name is trained.", data / IDENTITIES / person)


def _with_names(source: Source, files: Files, people: Sequence[str]) -> Source:
    """The names of groups/STEM.yaml, where it is there."""
    name = files.beside(source.name, NAMES_SUFFIXES)
    if name is None:
        return source
    path = files.paths[name]
    faces = _faces(path)
    for face in faces:
        if face is not None and face not in people:
            near = get_close_matches(face, people, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(people)}."
            raise ValueError(f"{path} names {face}, who has no folder in {IDENTITIES}; {hint}")
    named = [face for face in faces if face is not None]
    if len(set(named)) < len(named):
        raise ValueError(f"{path} names somebody twice: {', '.join(named)}. A face belongs to one person.")
    return replace(source, names=faces, ordered=True, beside=(*source.beside, path))


def _faces(path: Path) -> tuple[str | None, ...]:
    """The names of a groups/*.yaml, None for a stranger. Every name is a text: 001, no and null are names too."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}. {QUOTES}") from error
    faces = values.get("faces") if isinstance(values, Mapping) else None
    names = [_face(face) for face in faces] if isinstance(faces, list) else [""]
    if "" in names:
        raise ValueError(
            f"{path} must say who is in the photo from left to right, such as: faces: [alice, bob, '?']. {QUOTES}"
        )
    return tuple(None if name == NOBODY else name for name in names)


def _face(value: Any) -> str:
    """A name in one Unicode form; empty where it is none. A bare ? is YAML's mark of a key without a value."""
    if isinstance(value, Mapping) and dict(value) == {"": ""}:
        return NOBODY
    return one_form(value.strip()) if isinstance(value, str) else ""


def _with_caption(source: Source, files: Files) -> Source:
    """The caption beside the photo, of the same subfolder of captions, or right in captions."""
    below = PurePosixPath(*PurePosixPath(source.name).parts[1:])
    places = (source.name, f"{CAPTIONS}/{below}", f"{CAPTIONS}/{below.name}")
    found = (files.beside(place, CAPTION_SUFFIXES) for place in places)
    name = next((name for name in found if name is not None), None)
    if name is None:
        return source
    path = files.paths[name]
    try:
        caption = " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"The caption {path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    return replace(source, caption=caption, beside=(*source.beside, path))


def _hint(data: Path, files: Files) -> str:
    """Where the photos are, if a folder too high or too low was named, and which ones cannot be read."""
    unread = list(unread_photos(files))
    if unread:
        return " ".join(unread) + " "
    if data.name in (IDENTITIES, GROUPS) and any(data.iterdir()):
        return f"Name the folder above it as data: {data.parent}. "
    inner = next((path for path in sorted(data.iterdir()) if (path / IDENTITIES).is_dir()), None)
    return f"Did you mean data={inner}? " if inner is not None else ""


def _layout(data: Path) -> str:
    return (
        f"Put 10 to 50 photos of each person into {data / IDENTITIES}/NAME/ (JPEG, PNG or WebP), photos of several "
        f"into {data / GROUPS}/, and faces of other people into {data / NEGATIVES}/."
    )
