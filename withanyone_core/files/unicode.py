"""Names in one Unicode form: macOS writes ë as e and a mark, other systems as one character, and both mean the same."""

import unicodedata
from pathlib import Path


def one_form(name: str) -> str:
    """The composed form (NFC), by which names are compared and kept."""
    return unicodedata.normalize("NFC", name)


def as_on_disk(path: Path) -> Path:
    """The path in the Unicode form that it has on the disk; the path itself where nothing is there in any form."""
    if str(path).isascii() or path.exists() or path == path.parent:
        return path
    parent = as_on_disk(path.parent)
    name = one_form(path.name)
    entries = parent.iterdir() if parent.is_dir() and not path.name.isascii() else ()
    return next((entry for entry in entries if one_form(entry.name) == name), parent / path.name)
