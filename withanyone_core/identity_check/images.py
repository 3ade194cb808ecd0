"""The images to be checked, and the layout file that says who should be where in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from unicodedata import normalize

from ..regions.layout import Box
from .values import ImageFile

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
ASPECT_TOLERANCE = 0.02
Place = Box | None


@dataclass(frozen=True)
class Expected:
    """Who should be in an image, and where (None: anywhere). `size_px` is what the places were made for."""

    places: Mapping[str, Place]
    size_px: tuple[float, float] | None = None

    def note(self, size_px: tuple[int, int]) -> str:
        """What is said of an image of other proportions than the layout's; else empty."""
        if self.size_px is None or not any(self.places.values()):
            return ""
        (width, height), (made_width, made_height) = size_px, self.size_px
        if abs(width * made_height / (height * made_width) - 1) <= ASPECT_TOLERANCE:
            return ""
        return (
            f"The image is {width} x {height} pixels, of other proportions than the layout "
            f"({made_width:g} x {made_height:g}); its boxes are stretched over it."
        )


@dataclass(frozen=True)
class LayoutFile:
    """Who is expected, by the image's path; `default` for those that no pattern fits, None where nothing says so."""

    default: Expected | None = None
    images: Mapping[str, Expected] = field(default_factory=dict)

    def of(self, image: ImageFile) -> Expected | None:
        """An exact path first, then the first pattern that fits; with the variant before it or without."""
        labels = (_one_form(image.label), _one_form(image.name))
        for label in labels:
            if label in self.images:
                return self.images[label]
        for pattern, expected in self.images.items():
            if any(fnmatchcase(label, pattern) for label in labels):
                return expected
        return self.default

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody it names."""
        everyone = [*([self.default] if self.default else []), *self.images.values()]
        return tuple(dict.fromkeys(name for expected in everyone for name in expected.places))


def find_images(folder: Path, leave_out: Sequence[Path] = ()) -> list[ImageFile]:
    """Every image of a folder by variant and name; nothing below the folders in `leave_out`, nothing hidden.

    Raises ValueError where there is no such folder or no image in it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. Give the folder of images; its sub-folders are variants.")
    barred = [place.resolve() for place in leave_out]
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        if any(path.resolve().is_relative_to(place) for place in barred):
            continue
        variant = parts[0] if len(parts) > 1 else ""
        found.append(ImageFile(variant, "/".join(parts[1:] if variant else parts), path))
    if not found:
        raise ValueError(f"{folder} holds no image ({', '.join(SUFFIXES)}), nor do its sub-folders.")
    return found


def read_layout(path: Path) -> LayoutFile:
    """The layout file: JSON with "people" for all images, or "images" with "people" for each path or pattern.

        {"size": [1024, 768], "people": {"ann": [100, 80, 400, 500], "ben": null}}
        {"images": {"*/two_*.png": {"people": {"ann": [0.1, 0.1, 0.4, 0.6]}}}}

    A box is x1, y1, x2, y2: pixels of "size", or fractions without it; null for anywhere.
    Raises ValueError, naming the entry, for anything else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The layout {path} cannot be read as JSON: {error}") from error
    if not isinstance(entries, dict) or not {"people", "images"} & entries.keys():
        raise ValueError(f'The layout {path.name} needs "people" or "images"; see --help.')
    images = entries.get("images", {})
    if not isinstance(images, dict):
        raise ValueError(f'"images" in {path.name} is {type(images).__name__}; expected an object of paths.')
    default = _expected(entries, entries, path.name) if "people" in entries else None
    return LayoutFile(
        default,
        {_one_form(name): _expected(entry, entries, f"{name} in {path.name}") for name, entry in images.items()},
    )


def _expected(entry: Any, whole: Mapping[str, Any], where: str) -> Expected:
    if not isinstance(entry, dict) or not isinstance(entry.get("people"), dict):
        raise ValueError(f'{where} needs "people": an object of names, each with a box or null.')
    size = entry.get("size", whole.get("size"))
    if size is not None and not (_are_numbers(size, 2) and min(size) > 0):
        raise ValueError(f'{where} has the "size" {size!r}; expected [width, height] in pixels.')
    places = {_one_form(name): _place(box, size, f"{name} of {where}") for name, box in entry["people"].items()}
    if not places:
        raise ValueError(f"{where} expects nobody. Name at least one person.")
    return Expected(places, None if size is None else (float(size[0]), float(size[1])))


def _place(box: Any, size: Sequence[float] | None, where: str) -> Place:
    if box is None:
        return None
    if not _are_numbers(box, 4):
        raise ValueError(f"The box of {where} is {box!r}; expected [x1, y1, x2, y2] or null.")
    x1, y1, x2, y2 = (float(value) for value in box)
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"The box of {where} is {box!r}; expected the top left corner first: x1 < x2 and y1 < y2.")
    if size is None and max(x2, y2) > 1:
        raise ValueError(f'The box of {where} is {box!r} in pixels; say of which "size": [width, height].')
    width, height = (1.0, 1.0) if size is None else (float(size[0]), float(size[1]))
    return Box(x1 / width, y1 / height, x2 / width, y2 / height)


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and abs(value) < float("inf") for value in values)
    )


def _one_form(name: str) -> str:
    return normalize("NFC", name)
