"""Photographs for the shipped workflows, cut from an image inside the insightface package."""

import importlib.util
from pathlib import Path

from PIL import Image

# (file, the part of it that shows one person, in pixels)
PEOPLE = {
    "person_1.jpg": ("t1.jpg", (820, 0, 1100, 280)),
    "person_2.jpg": ("t1.jpg", (400, 200, 640, 440)),
    "person_3.jpg": ("t1.jpg", (195, 80, 445, 330)),
    "person_4.jpg": ("t1.jpg", (665, 275, 905, 515)),
}
GROUP = "t1.jpg"
# (file, what it shows)
SCENES = {
    "guide.jpg": (GROUP, (0, 0, 1280, 886)),  # six people
    "to_edit.jpg": (GROUP, (590, 0, 1120, 530)),  # two
    "another_photo.jpg": (GROUP, (790, 0, 1090, 300)),  # person 1, cut out otherwise
    "to_measure.jpg": (GROUP, (0, 0, 1280, 886)),
    "person_1_again.jpg": (GROUP, (790, 0, 1090, 300)),
    "person_2_again.jpg": (GROUP, (380, 180, 660, 460)),
    "another_photo_2.jpg": (GROUP, (380, 190, 640, 450)),  # person 2, the same
    "no_person.jpg": (GROUP, (0, 600, 280, 880)),
}


def images() -> Path:
    # The package itself takes seconds to import and is not needed for its images.
    return Path(importlib.util.find_spec("insightface").origin).parent / "data" / "images"


def write_photos(folder: Path) -> None:
    """Writes person_1.jpg to person_4.jpg, and the scenes."""
    for name, (image, part) in (PEOPLE | SCENES).items():
        Image.open(images() / image).convert("RGB").crop(part).save(folder / name, quality=95)
