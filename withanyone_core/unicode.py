"""Names in one Unicode form: macOS writes ë as e and a mark, other systems as one character, and both mean the same."""

import unicodedata


def one_form(name: str) -> str:
    """The composed form (NFC), by which names are compared and kept."""
    return unicodedata.normalize("NFC", name)
