"""Photos a second that prepare.py makes into a cache, with stand-ins in the place of the models.

    .testbed/venv/bin/python benchmarks/prepare_photos.py [--photos 80] [--width 1200 --height 1600] [--workers 2]

What is measured is everything around the models: decoding JPEG, hashing, perceptual hashes, upright faces, four cuts of
512 to 768 pixels scaled by Lanczos, face crops, and writing what the real models would give: posteriors of 16 channels,
256 x 768 SigLIP tokens twice a face, 512 x 4096 T5 states a caption. Two people, a caption for each photo. The goal is
10 photos a second on two cores. Needs the test bed that `bash test.sh` makes.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import load_pack

load_pack()

from withanyone_pack.tests.training import coded_faces as coded

from training.preparing.models import PreparationModels
from training.preparing.preparing import prepare
from withanyone_core.faces.alignment import TEMPLATE_PX
from withanyone_core.identity import Face

GOAL = 10.0


class TintedFaces:
    """One face in the middle of every photo, whose it is says the photo's tint."""

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        height, width = photo.shape[:2]
        side = 0.4 * min(width, height)
        x, y = (width - side) / 2, (height - side) / 2
        small = cv2.resize(photo, (8, 8), interpolation=cv2.INTER_AREA)
        red, _, blue = small.reshape(-1, 3).mean(axis=0)
        embedding = coded.embedding_of(1 if red > blue else 2, int(small.sum()) % 200 + 1)
        return (
            Face((x, y, x + side, y + side), 0.9, (TEMPLATE_PX * side / 112 + (x, y)).astype(np.float32), embedding),
        )


class FullTexts:
    def encode(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((512, 4096), float(len(text))), torch.zeros(768)

    def release(self) -> None:
        pass


class FullTokens:
    def tokens(self, crop: np.ndarray) -> torch.Tensor:
        return torch.full((256, 768), float(crop[0, 0, 0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=80)
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=1600)
    parser.add_argument("--workers", type=int, default=2)
    sizes = parser.parse_args()
    kinds = ("faces", "image", "text", "siglip")
    models = PreparationModels(
        TintedFaces(), coded.SmallImages(), FullTexts(), {kind: kind for kind in kinds}, siglip=FullTokens()
    )
    with tempfile.TemporaryDirectory() as folder:
        data, cache = Path(folder) / "data", Path(folder) / "cache"
        _write_photos(data, sizes.photos, sizes.width, sizes.height)
        settings = coded.settings(data, cache, sizes=(512, 640, 768), workers=sizes.workers)
        start, processor = time.perf_counter(), time.process_time()
        done = prepare(settings, lambda: models)
        seconds, busy = time.perf_counter() - start, time.process_time() - processor
        print(f"{len(done.cache.images)} photos of {sizes.width} x {sizes.height}, {sizes.workers} workers")
        print(f"{seconds:.2f} s, {sizes.photos / seconds:.1f} photos a second (goal {GOAL:.0f})")
        print(
            f"{busy:.2f} s of processor time: {2 * sizes.photos / busy:.1f} photos a second on two idle cores at most"
        )
        print(f"{_bytes(cache) / sizes.photos / 2**20:.1f} MiB a photo; load average {os.getloadavg()[0]:.1f}")
        start = time.perf_counter()
        prepare(settings, lambda: models)
        print(f"{time.perf_counter() - start:.2f} s to find that nothing has changed")


def _write_photos(data: Path, count: int, width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        name = ("alice", "bob")[number % 2]
        tint = np.array((40, 0, 0) if name == "alice" else (0, 0, 40))
        coarse = rng.integers(0, 215, (height // 40, width // 40, 3)) + tint
        image = cv2.resize(coarse.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        path = data / f"identities/{name}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=92)
        path.with_suffix(".txt").write_text(f"photo {number} of {name}")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
