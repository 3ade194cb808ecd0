"""What lies in a data folder, by names in one Unicode form, and what of it nobody has used."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

from PIL import features

from withanyone_core.files.unicode import one_form

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
SUFFIXES += (".avif",) if features.check("avif") else ()
UNREADABLE_SUFFIXES = (".heic", ".heif", ".avif", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".jxl", ".svg")
CAPTION_SUFFIXES, NAMES_SUFFIXES = (".txt", ".caption"), (".yaml", ".yml")
IDENTITIES, GROUPS, NEGATIVES, CAPTIONS = "identities", "groups", "negatives", "captions"
SUBFOLDERS = (IDENTITIES, GROUPS, NEGATIVES, CAPTIONS)
NAMED_AT_MOST = 5
# What operating systems leave behind everywhere.
_DROPPINGS = (".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", ".directory")


@dataclass(frozen=True)
class Unused:
    """Something in the data folder that is not used: its path below the folder, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Files:
    """The files of the subfolders of a data folder.

    paths   by name: the path below the data folder with slashes, in one Unicode form, the suffix in small letters.
            Of two files whose names differ only in that, the first
    broken  what cannot be followed or opened, with why
    again   further files of a name that is there already
    """

    paths: Mapping[str, Path]
    broken: tuple[Unused, ...]
    again: Mapping[Path, str] = field(default_factory=dict)

    def photos(self, subfolder: str) -> list[tuple[str, Path]]:
        """Name and path of every photo of a subfolder, in subfolders too."""
        every = [*self.paths.items(), *((name, path) for path, name in self.again.items())]
        found = [(name, path) for name, path in every if name.startswith(f"{subfolder}/") and is_photo(name)]
        return sorted(found, key=lambda pair: (pair[0].split("/"), str(pair[1])))

    def beside(self, name: str, suffixes: Sequence[str]) -> str | None:
        """The file that goes with a photo: x.txt or x.png.txt of x.png."""
        photo = PurePosixPath(name)
        forms = [str(photo.with_suffix(end)) for end in suffixes] + [name + end for end in suffixes]
        return next((form for form in forms if form in self.paths), None)


def files_in(data: Path) -> Files:
    """What the subfolders of a data folder hold, links followed."""
    paths: dict[str, Path] = {}
    again: dict[Path, str] = {}
    broken: list[Unused] = []
    for path in (path for subfolder in SUBFOLDERS for path in _below(data / subfolder, data, broken, ())):
        name = name_of(path, data)
        if name in paths:
            again[path] = name
        else:
            paths[name] = path
    return Files(paths, tuple(broken), again)


def name_of(path: Path, data: Path) -> str:
    """The path below the data folder, endings in small letters: also that of a photo before that of its caption."""
    relative = path.relative_to(data)
    small = relative.with_suffix(relative.suffix.lower())
    photo = small.with_suffix("")
    if small.suffix in (*CAPTION_SUFFIXES, *NAMES_SUFFIXES) and is_photo(photo.name):
        small = photo.with_suffix(photo.suffix.lower() + small.suffix)
    return one_form(small.as_posix())


def is_photo(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def unused(data: Path, used: Collection[Path], cache: Path) -> tuple[Unused, ...]:
    """What lies in a data folder and is neither used, nor the cache, nor of an operating system's making.

    used  the paths of all photos, captions and files of names that are
    """
    files = files_in(data)
    left = [Unused(name, _why(name)) for name, path in files.paths.items() if path not in used]
    left += [Unused(name, "another file has the same name") for path, name in files.again.items() if path not in used]
    return (*sorted([*_loose(data, cache), *files.broken, *left], key=lambda each: each.name),)


def unused_lines(left: Sequence[Unused]) -> Iterator[str]:
    """A line for each reason, with the first names."""
    for reason, group in groupby(sorted(left, key=lambda each: each.reason), key=lambda each: each.reason):
        names = [each.name for each in group]
        more = len(names) - NAMED_AT_MOST
        yield f"Not used: {', '.join(names[:NAMED_AT_MOST])}{f' and {more} more' * (more > 0)}: {reason}."


def _below(folder: Path, data: Path, broken: list[Unused], above: tuple[Path, ...]) -> Iterator[Path]:
    """Every file below a folder; what cannot be opened is added to `broken`."""
    if not folder.is_dir():
        return
    real = folder.resolve()
    if real in above:
        broken.append(Unused(name_of(folder, data), "a link to a folder that it lies in"))
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        broken.append(Unused(name_of(folder, data), f"the folder cannot be opened ({error.strerror})"))
        return
    for path in entries:
        if _is_dropping(path):
            continue
        if path.is_dir():
            yield from _below(path, data, broken, (*above, real))
        elif path.is_file():
            yield path
        else:
            broken.append(Unused(name_of(path, data), "a link that leads nowhere, or no file"))


def _loose(data: Path, cache: Path) -> Iterator[Unused]:
    """What lies beside the subfolders."""
    for path in data.iterdir():
        is_folder = path.is_dir()
        if (path.name in SUBFOLDERS and is_folder) or _is_dropping(path) or cache.is_relative_to(path):
            continue
        name = name_of(path, data) + "/" * is_folder
        if not is_folder and not path.is_file():
            yield Unused(name, "a link that leads nowhere, or no file")
        elif is_photo(name):
            yield Unused(name, f"photos belong into {IDENTITIES}/NAME/, {GROUPS}/ or {NEGATIVES}/")
        else:
            yield Unused(name, f"only {', '.join(SUBFOLDERS)} are looked into")


def _why(name: str) -> str:
    subfolder, _, rest = name.partition("/")
    if name.endswith(UNREADABLE_SUFFIXES) and not is_photo(name):
        return "photos of this kind cannot be read; save them as JPEG or PNG"
    if is_photo(name):
        if subfolder == IDENTITIES and "/" not in rest:
            return f"it shows nobody who has a name; photos of a person belong into {IDENTITIES}/NAME/"
        return f"photos belong into {IDENTITIES}/NAME/, {GROUPS}/ or {NEGATIVES}/"
    if name.endswith(CAPTION_SUFFIXES):
        return "no photo has this name, or a caption that was found before"
    if name.endswith(NAMES_SUFFIXES) and subfolder == GROUPS:
        return "no photo beside it has this name, or names that were found before"
    return "it is no photo, no caption (.txt, .caption) and no names of a group photo (.yaml, .yml)"


def _is_dropping(path: Path) -> bool:
    return path.name in _DROPPINGS or path.name.startswith("._")
