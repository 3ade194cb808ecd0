"""Two photographs of one person each, cut from pictures inside the insightface package."""

import importlib.util
from pathlib import Path

from PIL import Image

# (file, the part of it that shows one person, in pixels)
PEOPLE = {
    "person_1.jpg": ("t1.jpg", (820, 0, 1100, 280)),
    "person_2.jpg": ("t1.jpg", (400, 200, 640, 440)),
}
GROUP = "t1.jpg"


def pictures() -> Path:
    # The package itself takes seconds to import and is not needed for its pictures.
    return Path(importlib.util.find_spec("insightface").origin).parent / "data" / "images"


def write_photos(folder: Path) -> None:
    """Writes person_1.jpg and person_2.jpg, and no_person.jpg, a piece of the same picture without a face."""
    for name, (picture, part) in {**PEOPLE, "no_person.jpg": (GROUP, (0, 600, 280, 880))}.items():
        Image.open(pictures() / picture).convert("RGB").crop(part).save(folder / name, quality=95)
