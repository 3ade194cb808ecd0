"""Which photos there are, whose they are said to be, and what is written about them: plain folders.

identities/NAME/*.jpg   photos of one person each
groups/*.jpg            photos of several people; names are found by face, or read from groups/STEM.yaml
negatives/*.jpg         any faces of other people
captions/*.txt          of the same stem, in the same subfolder or right below captions; or a .txt beside the photo
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import yaml

logger = logging.getLogger("withanyone")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
UNREADABLE_SUFFIXES = (".heic", ".heif", ".avif", ".raw", ".cr2", ".nef", ".arw", ".dng", ".gif")
IDENTITIES, GROUPS, NEGATIVES, CAPTIONS = "identities", "groups", "negatives", "captions"
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

    name     path below the data folder, with slashes
    kind     identity: a photo of `person`; group: of whoever is found; negative: of nobody who is trained
    names    who is in it, where somebody has said so
    ordered  whether `names` go from left to right, None in it being a stranger
    caption  None where there is none
    """

    name: str
    kind: Kind
    location: Location
    person: str | None = None
    names: tuple[str | None, ...] = ()
    ordered: bool = False
    caption: str | None = None


def plain_sources(data: Path) -> tuple[Source, ...]:
    """The photos of a data folder, people first.

    Raises FileNotFoundError without the folder, ValueError where it has no photos, or a groups/*.yaml names somebody
    who has no folder.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"There is no data folder {data}. {_layout(data)}")
    folders = sorted(path for path in (data / IDENTITIES).glob("*") if path.is_dir())
    people = [path.name for path in folders]
    found = [Source(_name(path, data), "identity", Location(path), path.parent.name) for path in _photos(folders)]
    groups = [Source(_name(path, data), "group", Location(path)) for path in _photos([data / GROUPS])]
    found += [_with_names(source, people) for source in groups]
    if not found:
        raise ValueError(f"No photos were found in {data}. {_layout(data)}")
    if not people:
        raise ValueError(
            f"{data} has {len(groups)} photos in {GROUPS}, but nobody's own: without {IDENTITIES}/NAME/*.jpg no face "
            "in them has a name. Make a folder of 10 to 50 photos for each person."
        )
    _warn_of_empty(folders, found)
    found += [Source(_name(path, data), "negative", Location(path)) for path in _photos([data / NEGATIVES])]
    return tuple(replace(source, caption=_caption(source, data)) for source in found)


def _photos(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path
            elif path.suffix.lower() in UNREADABLE_SUFFIXES:
                logger.warning("%s is left out: photos of this kind cannot be read. Save it as JPEG or PNG.", path)


def _warn_of_empty(folders: Sequence[Path], found: Sequence[Source]) -> None:
    with_photos = {source.person for source in found}
    for folder in folders:
        if folder.name not in with_photos:
            logger.warning("%s has no photos, so nobody of this name is trained.", folder)


def _with_names(source: Source, people: Sequence[str]) -> Source:
    """The names of groups/STEM.yaml, where it is there."""
    path = source.location.path.with_suffix(".yaml")
    if not path.is_file():
        return source
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    faces = values.get("faces") if isinstance(values, dict) else None
    if not isinstance(faces, list) or not all(isinstance(face, str) for face in faces):
        raise ValueError(f"{path} must say who is in the photo from left to right, such as: faces: [alice, bob, '?']")
    for name in faces:
        if name != NOBODY and name not in people:
            near = get_close_matches(name, people, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(people)}."
            raise ValueError(f"{path} names {name}, who has no folder in {IDENTITIES}; {hint}")
    named = [face for face in faces if face != NOBODY]
    if len(set(named)) < len(named):
        raise ValueError(f"{path} names somebody twice: {', '.join(faces)}. A face belongs to one person.")
    return replace(source, names=tuple(None if face == NOBODY else face for face in faces), ordered=True)


def _caption(source: Source, data: Path) -> str | None:
    photo = source.location.path
    relative = Path(source.name).with_suffix(".txt")
    below = Path(*relative.parts[1:])
    places = (photo.with_suffix(".txt"), data / CAPTIONS / below, data / CAPTIONS / relative.name)
    for path in places:
        if path.is_file():
            try:
                return " ".join(path.read_text(encoding="utf-8-sig").split())
            except UnicodeDecodeError as error:
                raise ValueError(f"The caption {path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    return None


def _name(path: Path, data: Path) -> str:
    return path.relative_to(data).as_posix()


def _layout(data: Path) -> str:
    return (
        f"Put 10 to 50 photos of each person into {data / IDENTITIES}/NAME/ (JPEG, PNG or WebP), photos of several "
        f"into {data / GROUPS}/, and faces of other people into {data / NEGATIVES}/."
    )
