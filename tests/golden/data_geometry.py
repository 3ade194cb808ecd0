"""Replays of what is cut out of a photo and how far a head is turned."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...withanyone_core.faces.crop import SIDE_PX, crop_rectangle
from ..training.rooms import add_training
from .report import Outcome, exact, not_applicable

WINDOW = "photos are cut for buckets of several sizes, with every chosen face, not to one random square"
REFERENCE = "a reference is a random other photo of the person, not the most similar of twenty"


def data_geometry(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.preparing.quality import is_small, pose

    stored = json.loads(path.read_text())
    for index, case in enumerate(stored["face_square_crop"]):
        box_px = tuple(map(float, case["bbox"]))
        accepted = not is_small(box_px)
        rectangle = crop_rectangle(box_px, case["width"], case["height"]) if accepted else None
        yield exact(f"face_square_crop {index} accepted", accepted, case["accepted"])
        yield exact(f"face_square_crop {index}", rectangle and list(rectangle), case["crop"])
        yield exact(f"face_square_crop {index} size", [SIDE_PX] * 2 if accepted else None, case["resize"])
    for index, case in enumerate(stored["pose"]):
        yield exact(f"pose {index}", pose(np.array(case["landmarks"])), case["label"])
    yield not_applicable("square_resize", WINDOW)
    yield not_applicable("reference_choice", REFERENCE)
