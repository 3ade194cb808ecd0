"""Face pack, judge and images small enough to be made in a test, for the command line as a user runs it."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from withanyone_pack.tests.faces.small_pack import small_recognizer, write_pack

SIDE_PX = 640  # the detection size, so that the small detector's cells are whole


def write_models(folder: Path) -> tuple[Path, Path]:
    """A face pack's folder and a judge's card."""
    card = {"name": "small", "onnx": "small.onnx", "size_px": 112, "colours": "rgb", "mean": 127.5, "std": 127.5}
    pack = write_pack(folder / "antelopev2")
    onnx.save(small_recognizer(256), folder / "small.onnx")
    (folder / "small.json").write_text(json.dumps(card))
    return pack, folder / "small.json"


def image(*columns: int, pattern: int = 0) -> np.ndarray:
    """A BGR image that the small detector finds a face in for each column (of 8 pixels), on a pattern of its own.

    The red square is as large as four cells, so that it is still a cell after the padding of references.
    """
    drawn = np.random.default_rng(pattern).integers(0, 60, (SIDE_PX // 8, SIDE_PX // 8), dtype=np.uint8)
    photo = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    photo[..., 0] = np.kron(drawn, np.ones((8, 8), np.uint8))
    for column in columns:
        photo[320:344, column * 8 : column * 8 + 24] = (0, 0, 255)
    return photo


def write_small_cases(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        case = folder / f"case_{number}"
        case.mkdir(parents=True)
        for name, pattern in (("out", number), ("ori", number + 10), ("ref_1", number + 20)):
            cv2.imwrite(str(case / f"{name}.png"), image(30, pattern=pattern))
        (case / "meta.json").write_text(json.dumps({"prompt": f"prompt {number}"}))
    return folder
