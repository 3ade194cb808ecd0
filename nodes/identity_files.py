"""Where saved identities are: `identities` in ComfyUI's input and output folders."""

import re
import unicodedata
from pathlib import Path, PurePosixPath

import folder_paths

from ..withanyone_core.identities.identity_file import SUFFIXES

FOLDER = "identities"
NAME = "%name%"
# File systems allow 255 bytes, encrypted ones 143, for a name with all that is added to it.
NAME_BYTES, PART_BYTES = 100, 200
_MARK = re.compile(r" \[(input|output)\]$")
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')  # in file names on Windows; no other system needs them either


def identity_names() -> list[str]:
    """Every saved identity as the widget shows it: a path below `identities`, and which of the two folders it is in."""
    return [
        f"{path.relative_to(root).as_posix()} [{mark}]"
        for mark, root in _roots().items()
        for path in sorted(root.rglob("*"))
        if path.suffix in SUFFIXES and path.is_file()
    ]


def identity_path(name: str) -> Path:
    """The file behind a name of `identity_names`.

    Raises ValueError for a name that is none or leaves the folder (it may come from a stranger's workflow), and
    FileNotFoundError that says where identities are looked for.
    """
    mark = _MARK.search(name)
    if mark is None:
        raise ValueError(
            f"{name!r} is not the name of a saved identity; expected a file below {FOLDER} followed by [input] or "
            "[output]. Choose one in the node."
        )
    inside = _inside(name[: mark.start()], "identity file")
    path = _roots()[mark[1]].joinpath(*inside.parts)
    if not path.is_file():
        places = " or ".join(str(root) for root in _roots().values())
        raise FileNotFoundError(
            f"{name!r} is not there any more. Identities are looked for in {places}; make one with Save Identity or "
            "copy it there, then refresh the node list."
        )
    return path


def free_path(prefix: str, person: str) -> Path:
    """A file below output/identities that does not exist yet: prefix, a counter from 00001, .safetensors.

    `%name%` in the prefix stands for the person's name, with everything but letters, digits, spaces, hyphens and dots
    replaced, and cut where it is long; the date placeholders of Save Image work too. Raises ValueError for a prefix
    that leaves the folder, is too long for a file's name, or holds characters that file names may not have.
    """
    # Composed: an accent that is a letter of its own, as macOS writes them, would be replaced.
    composed = unicodedata.normalize("NFC", person)
    safe_name = _cut(re.sub(r"[^\w .-]", "_", composed).strip(" .")) or "person"
    inside = _inside(prefix.replace(NAME, safe_name), "filename_prefix")
    _refuse_long(inside, "filename_prefix")
    folder, stem, number, _, _ = folder_paths.get_save_image_path(
        f"{FOLDER}/{inside.as_posix()}", folder_paths.get_output_directory()
    )
    candidates = (Path(folder) / f"{stem}_{count:05}_.safetensors" for count in range(number, number + 100_000))
    return next(path for path in candidates if not path.exists())


def _cut(name: str) -> str:
    """The beginning of a person's name, whole letters only. The file itself holds all of it."""
    # errors="ignore" drops a letter that the cut has split.
    return name.encode()[:NAME_BYTES].decode(errors="ignore").strip(" .")


def _refuse_long(path: PurePosixPath, what: str) -> None:
    for part in path.parts:
        if len(part.encode()) > PART_BYTES:
            raise ValueError(
                f"The {what} has a part of {len(part)} letters, {part[:20]!r} and so on, which is too long for the "
                f"name of a file or folder. Use at most {PART_BYTES} plain letters, or a third of that in Chinese, "
                "Japanese or Korean. The person's name may be of any length."
            )


def _inside(text: str, what: str) -> PurePosixPath:
    # A workflow may come from Windows, where a backslash separates folders.
    path = PurePosixPath(text.strip().replace("\\", "/"))
    if path.is_absolute() or not path.name or ".." in path.parts:
        raise ValueError(
            f"The {what} {text!r} leaves the folder {FOLDER} or names no file; "
            "expected a name such as ann or family/ann."
        )
    if _FORBIDDEN.search(text):
        raise ValueError(f'The {what} {text!r} holds characters that file names may not have (< > : " | ? *).')
    return path


def _roots() -> dict[str, Path]:
    return {
        "input": Path(folder_paths.get_input_directory()) / FOLDER,
        "output": Path(folder_paths.get_output_directory()) / FOLDER,
    }
