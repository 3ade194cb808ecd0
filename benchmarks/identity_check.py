"""Images a minute that the identity check goes through: from kept embeddings, and what it costs to read a new one.

    .testbed/venv/bin/python benchmarks/identity_check.py [--images 500] [--people 20] [--recognizer dlib]

The files are small images of nobody; their faces, two each, are random and kept beforehand, as a second run finds them.
Detection and recognition of new images are timed apart, on insightface's group photograph. The goal is 500 images a
minute from kept embeddings on two cores; times are of the processor, one thread. Needs the test bed that `bash test.sh`
makes.
"""

import argparse
import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import load_pack

load_pack()

from withanyone_pack.tests.comfyui import photos as group_photo
from withanyone_pack.withanyone_core.identity_check.__main__ import STORE
from withanyone_pack.withanyone_core.identity_check.__main__ import main as check
from withanyone_pack.withanyone_core.identity_check.appearance import LOOK_PX
from withanyone_pack.withanyone_core.identity_check.reading import MAKER, read_image
from withanyone_pack.withanyone_core.identity_check.recognizers import LoadedRecognizer, load_recognizer
from withanyone_pack.withanyone_core.metrics.cache import ArrayStore

GOAL = 500
PHOTOS, WIDTH, IMAGE_PX = 4, 128, 64
BOXES_PX = np.array([[5, 5, 25, 25], [38, 5, 58, 25]], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--recognizer", default="dlib")
    sizes = parser.parse_args()
    recognizer = load_recognizer(sizes.recognizer)
    _time_reading(recognizer)
    with tempfile.TemporaryDirectory() as folder:
        _draw(Path(folder), sizes.images, sizes.people, recognizer.fingerprint)
        before = _peak_mib()
        seconds = _checked_in(Path(folder), sizes.recognizer)
    rate = 60 * sizes.images / seconds
    print(f"{sizes.images} images from kept embeddings, {sizes.people} people, reports included: {seconds:.1f} s")
    print(f"{rate:.0f} images a minute of one core (goal: {GOAL} on two)")
    print(f"memory at most: {_peak_mib():.0f} MiB, before the check {before:.0f} MiB")
    sys.exit(rate < GOAL)


def _checked_in(folder: Path, recognizer: str) -> float:
    """Processor seconds of the command."""
    arguments = [str(folder / "images"), "--people", str(folder / "people"), "--layout", str(folder / "layout.json")]
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        check([*arguments, "--out", str(folder / "report"), "--recognizer", recognizer])
    return time.process_time() - start


def _time_reading(recognizer: LoadedRecognizer, repeats: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        group_photo.write_photos(Path(folder))
        photo = read_image(Path(folder) / "guide.jpg")
    start = time.process_time()
    for _ in range(repeats):
        faces = recognizer.analysis.faces(photo)
    seconds = (time.process_time() - start) / repeats
    size = f"{photo.shape[1]} x {photo.shape[0]}"
    print(f"{recognizer.about.name}: detection and recognition of a new image of {size}, {len(faces)} faces: ", end="")
    print(f"{seconds:.2f} s")


def _draw(folder: Path, images: int, people: int, fingerprint: str) -> None:
    """Files of noise, and what was found in them as if they showed people."""
    random = np.random.default_rng(0)
    store = ArrayStore(folder / "report" / STORE)
    who = random.normal(size=(people, WIDTH))
    for person in range(people):
        for photo in range(PHOTOS):
            _keep(folder / f"people/person {person}/{photo}.png", who[[person]], random, store, f"{fingerprint} padded")
    entries = {}
    for number in range(images):
        shown = random.choice(people, 2, replace=False)
        _keep(folder / f"images/{number}.png", who[shown], random, store, fingerprint)
        boxes = [(box / IMAGE_PX).tolist() for box in BOXES_PX]
        entries[f"{number}.png"] = {"people": {f"person {each}": box for each, box in zip(shown, boxes, strict=True)}}
    (folder / "layout.json").write_text(json.dumps({"images": entries}), encoding="utf-8")


def _keep(path: Path, people: np.ndarray, random: np.random.Generator, store: ArrayStore, maker: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)).save(path, compress_level=0)
    kept = {
        "size": np.array([IMAGE_PX, IMAGE_PX], np.int64),
        "boxes_px": BOXES_PX[: len(people)],
        "scores": np.full(len(people), 0.9, np.float32),
        "embeddings": (people + random.normal(size=people.shape)).astype(np.float32),
        "looks": random.integers(0, 256, (len(people), LOOK_PX, LOOK_PX), dtype=np.uint8),
        "tints": np.zeros((len(people), 3), np.float32),
    }
    store.put(sha256(path.read_bytes()).hexdigest(), f"{MAKER} {maker}", kept)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
