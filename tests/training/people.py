"""Cases made of the real photographs inside the insightface package, and real models that look at them."""

import importlib
import importlib.util
import json
import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from withanyone_pack.tests.pack import ROOT, TESTBED, add_comfyui

# Six people of t1.jpg, from the left, each with some room: x1, y1, x2, y2 in pixels.
PEOPLE_PX = (
    (0, 210, 220, 450),
    (210, 90, 440, 330),
    (400, 200, 640, 460),
    (680, 290, 910, 530),
    (840, 10, 1080, 260),
    (1070, 220, 1280, 450),
)


@cache
def group() -> np.ndarray:
    """The whole photo, BGR."""
    folder = Path(importlib.util.find_spec("insightface").origin).parent / "data" / "images"
    return cv2.imread(str(folder / "t1.jpg"))


def person(number: int) -> np.ndarray:
    x1, y1, x2, y2 = PEOPLE_PX[number]
    return group()[y1:y2, x1:x2]


def beside(*people: np.ndarray) -> np.ndarray:
    """People side by side in one image."""
    height = max(image.shape[0] for image in people)
    padded = [cv2.copyMakeBorder(each, 0, height - each.shape[0], 0, 0, cv2.BORDER_REPLICATE) for each in people]
    return np.concatenate(padded, axis=1)


def other_photo(image: np.ndarray) -> np.ndarray:
    """The same person less alike: mirrored, softer, darker. Stands for a second photo."""
    return cv2.GaussianBlur(image[:, ::-1], (0, 0), 1.6) // 4 * 3


def write_case(folder: Path, out=None, ori=None, refs=(), prompt="", **meta) -> Path:
    """One case in the benchmark's layout; what is None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {"out": out, "ori": ori, **{f"ref_{number}": image for number, image in enumerate(refs, 1)}}
    for name, image in named.items():
        if image is not None:
            cv2.imwrite(str(folder / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    (folder / "meta.json").write_text(json.dumps({"prompt": prompt, **meta}))
    return folder


def write_cases(folder: Path) -> Path:
    """A small benchmark: three cases of one person, two of two, one of three, one without ground truth."""
    people = [person(number) for number in range(6)]
    others = [other_photo(image) for image in people]
    write_case(folder / "copied", people[4], others[4], [people[4]], "a portrait")
    write_case(folder / "alike", others[3], cv2.add(others[3], 15), [people[3]], "a portrait")
    write_case(folder / "stranger", people[0], others[2], [people[2]], "a portrait")
    write_case(folder / "pair", beside(people[0], people[2]), beside(others[0], others[2]), [people[0], people[2]])
    write_case(folder / "half_a_pair", people[3], beside(others[3], others[4]), [people[3], people[4]])
    three = [0, 3, 4]
    write_case(
        folder / "three",
        beside(*(people[number] for number in three)),
        beside(*(others[number] for number in three)),
        [people[number] for number in three],
    )
    write_case(folder / "no_truth", people[4], None, [people[4]])
    return folder


class Remembering:
    """A face analysis that looks at each image once."""

    def __init__(self, analysis) -> None:
        self.analysis = analysis
        self.known = {}

    def faces(self, photo):
        key = (photo.shape, photo.tobytes())
        if key not in self.known:
            self.known[key] = self.analysis.faces(photo)
        return self.known[key]


@cache
def analysis():
    """MTCNN and MobileFaceNet, the test bed's stand-ins for antelopev2."""
    add_comfyui()
    importlib.import_module("withanyone_pack.withanyone_core.identity")  # which the stand-in looks for
    os.environ.setdefault("WITHANYONE_TESTBED", str(TESTBED))
    path = ROOT / "tests" / "comfyui" / "standins" / "standin_faces.py"
    spec = importlib.util.spec_from_file_location("standin_faces_of_training", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Remembering(module.StandinFaces())


class OwnEmbeddings:
    """A judge that takes part of the embeddings which the face analysis has made already."""

    def __init__(self, name="MobileFaceNet", trained_with=False, numbers=192):
        from withanyone_core.metrics.case import JudgeInfo

        self.info = JudgeInfo(name, trained_with)
        self.fingerprint = f"{name} {numbers}"
        self.numbers = numbers
        self.calls = 0

    def embed(self, photo, faces):
        self.calls += 1
        embeddings = [face.embedding[: self.numbers] for face in faces]
        return np.array(embeddings, np.float32).reshape(len(faces), self.numbers)
