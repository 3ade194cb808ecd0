"""What lies in a data folder, by names in one Unicode form, and what of it nobody has used."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from withanyone_core.files.unicode import one_form

from .photos import reads_avif, reads_heic
from .reasons import Reason, by_cause, counted, first_of

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
HEIC_SUFFIXES, AVIF_SUFFIXES = (".heic", ".heif", ".hif"), (".avif",)
UNREADABLE_SUFFIXES = (".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".jxl", ".svg")
CAPTION_SUFFIXES, NAMES_SUFFIXES = (".txt", ".caption"), (".yaml", ".yml")
IDENTITIES, GROUPS, NEGATIVES, CAPTIONS = "identities", "groups", "negatives", "captions"
SUBFOLDERS = (IDENTITIES, GROUPS, NEGATIVES, CAPTIONS)
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
    """Whether a file is a photo that can be read here."""
    small = name.lower()
    if small.endswith(HEIC_SUFFIXES):
        return reads_heic()
    return small.endswith(SUFFIXES) or (small.endswith(AVIF_SUFFIXES) and reads_avif())


def unread_photos(files: Files) -> Iterator[str]:
    """A line for each kind of photo that lies there and cannot be read."""
    found = [(name, Reason(why)) for name in files.paths if (why := _unreadable(name))]
    for cause, names in by_cause(found):
        yield f"{counted(names)} there ({first_of(names)}): {cause}."


def unused(data: Path, used: Collection[Path], cache: Path) -> tuple[Unused, ...]:
    """What lies in a data folder and is neither used, nor the cache, nor of an operating system's making.

    used  the paths of all photos, captions and files of names that are
    """
    files = files_in(data)
    left = [Unused(name, _why(name)) for name, path in files.paths.items() if path not in used]
    left += [Unused(name, "another file has the same name") for path, name in files.again.items() if path not in used]
    return (*sorted([*_loose(data, cache), *files.broken, *left], key=lambda each: each.name),)


def unused_lines(left: Sequence[Unused]) -> Iterator[str]:
    """A line for each reason, with how many there are and the first names."""
    for cause, names in by_cause((each.name, Reason(each.reason)) for each in left):
        yield f"Not used, {counted(names, 'file')}: {first_of(names)}: {cause}."


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
    if why := _unreadable(name):
        return why
    if is_photo(name):
        if subfolder == IDENTITIES and "/" not in rest:
            return f"it shows nobody who has a name; photos of a person belong into {IDENTITIES}/NAME/"
        return f"photos belong into {IDENTITIES}/NAME/, {GROUPS}/ or {NEGATIVES}/"
    if name.endswith(CAPTION_SUFFIXES):
        return "no photo has this name, or a caption that was found before"
    if name.endswith(NAMES_SUFFIXES) and subfolder == GROUPS:
        return "no photo beside it has this name, or names that were found before"
    return "it is no photo, no caption (.txt, .caption) and no names of a group photo (.yaml, .yml)"


def _unreadable(name: str) -> str:
    """Why a photo of this kind cannot be read here; empty where it can, or is none."""
    small = name.lower()
    if small.endswith(HEIC_SUFFIXES) and not reads_heic():
        return "HEIC photos need pillow-heif: run `python -m pip install pillow-heif`, or save them as JPEG"
    if small.endswith(AVIF_SUFFIXES) and not reads_avif():
        return "AVIF photos need Pillow 11.3 or newer: run `python -m pip install --upgrade Pillow`"
    if small.endswith(UNREADABLE_SUFFIXES):
        return "photos of this kind cannot be read; save them as JPEG or PNG"
    return ""


def _is_dropping(path: Path) -> bool:
    return path.name in _DROPPINGS or path.name.startswith("._")
