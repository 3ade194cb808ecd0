"""Pictures to learn faces from, rendered once into a scratch folder, with all that is known about each face."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..world import look, renderer
from ..world.person import TRAITS, person_of
from ..world.renderer import render
from ..world.scene import LIGHTS, PLACES, STUDIO, Scene, draw_portrait, draw_scene

EVIDENCE = 1_000_000  # people of this index and above are never learnt from
SHARES = (0.3, 0.3, 0.2, 0.2)  # of scenes with 1, 2, 3 and 4 people
WHERE = (*PLACES, STUDIO)
WORLD = Path(renderer.__file__).parent
CHUNK = 50
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray, float]  # pixels, pictures, faces, seconds
NICE = 5  # rendering ahead yields to whatever else the machine does

PICTURE = np.dtype([("count", "i4"), ("place", "i4"), ("light", "i4")])
FACE = np.dtype(
    [
        ("picture", "i4"),
        ("person", "i4"),
        ("box", "f4", 4),
        ("landmarks", "f4", (5, 2)),
        ("traits", "f4", len(TRAITS)),
        ("pose", "f4", 3),
        ("expression", "i4"),
        ("intensity", "f4"),
        ("direction", "i4"),
        ("glasses", "i4"),
        ("hat", "i4"),
        ("gaze", "f4"),
    ]
)


@dataclass(frozen=True)
class Plan:
    """Which pictures a pool has; the same plan makes the same pictures.

    size_px         side of the square pictures
    first, people   indices of the people in it: first ... first + people - 1
    portraits       share of pictures that are one person's portrait
    """

    seed: int
    pictures: int
    size_px: int
    first: int
    people: int
    portraits: float = 0.0


@dataclass(frozen=True, eq=False)
class Pool:
    """Rendered pictures and their faces.

    pixels    uint8 RGB [pictures, side, side, 3], read from the disk as needed
    pictures  PICTURE records; `place` counts in WHERE, `light` in LIGHTS
    faces     FACE records; box and landmarks in pixels, pose is yaw, pitch and roll in degrees
    seconds   spent rendering, summed over processes
    """

    plan: Plan
    pixels: np.ndarray
    pictures: np.ndarray
    faces: np.ndarray
    seconds: float


def open_pool(folder: Path, plan: Plan, workers: int | None = None) -> Pool:
    """The pool of a plan, rendered into `folder` unless it is there; another plan or world has another name."""
    path = folder / f"pool_{_fingerprint(plan)}"
    if not path.with_suffix(".json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _render_all(path, plan, workers or os.cpu_count() or 1)
    header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    pixels, pictures, faces = (np.load(_part(path, kind), mmap_mode="r") for kind in ("pixels", "pictures", "faces"))
    return Pool(plan, pixels, pictures, np.array(faces), header["seconds"])


def planned_scene(plan: Plan, number: int) -> tuple[Scene, list[int]]:
    """The scene of a pool's picture, and the indices of its people."""
    rng = np.random.default_rng([plan.seed, number])
    if rng.random() < plan.portraits:
        index = plan.first + int(rng.integers(plan.people))
        return draw_portrait(rng, person_of(index)), [index]
    count = 1 + int(rng.choice(len(SHARES), p=SHARES))
    indices = [plan.first + int(index) for index in rng.choice(plan.people, count, replace=False)]
    return draw_scene(rng, [person_of(index) for index in indices]), indices


def _fingerprint(plan: Plan) -> str:
    sources = b"".join(path.read_bytes() for path in sorted(WORLD.glob("*.py")))
    return sha256(json.dumps(asdict(plan)).encode() + sources).hexdigest()[:16]


def _part(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}_{kind}.npy")


def _render_all(path: Path, plan: Plan, workers: int) -> None:
    shape = (plan.pictures, plan.size_px, plan.size_px, 3)
    pixels = np.lib.format.open_memmap(_part(path, "pixels"), mode="w+", dtype=np.uint8, shape=shape)
    pictures = np.zeros(plan.pictures, PICTURE)
    faces, seconds = [], 0.0
    starts = range(0, plan.pictures, CHUNK)
    chunks = _rendered(plan, starts, workers)
    for start, chunk in zip(starts, tqdm(chunks, desc=path.name, total=len(starts), disable=None), strict=True):
        end = start + len(chunk[0])
        pixels[start:end], pictures[start:end] = chunk[0], chunk[1]
        faces.append(chunk[2])
        seconds += chunk[3]
    pixels.flush()
    np.save(_part(path, "pictures"), pictures)
    np.save(_part(path, "faces"), np.concatenate(faces))
    header = path.with_suffix(".part")
    header.write_text(json.dumps({"plan": asdict(plan), "seconds": seconds}), encoding="utf-8")
    os.replace(header, path.with_suffix(".json"))


def _rendered(plan: Plan, starts: range, workers: int) -> Iterator[Chunk]:
    if workers < 2:
        yield from map(_render_chunk, repeat(plan), starts)
        return
    # Forked children of a process whose torch has begun to use threads may hang; spawned ones cannot.
    with ProcessPoolExecutor(workers, get_context("spawn"), _yield) as pool:
        yield from pool.map(_render_chunk, repeat(plan), starts)


def _yield() -> None:
    if hasattr(os, "nice"):
        os.nice(NICE)


def _render_chunk(plan: Plan, start: int) -> Chunk:
    began = time.monotonic()
    numbers = range(start, min(start + CHUNK, plan.pictures))
    pixels = np.zeros((len(numbers), plan.size_px, plan.size_px, 3), np.uint8)
    pictures = np.zeros(len(numbers), PICTURE)
    faces = []
    for place, number in enumerate(numbers):
        shown, indices = planned_scene(plan, number)
        picture = render(shown, plan.size_px, plan.size_px)
        pixels[place] = picture.pixels
        pictures[place] = (len(shown.people), WHERE.index(shown.place), LIGHTS.index(shown.light))
        faces.append(face_records(shown, indices, picture, number))
    return pixels, pictures, np.concatenate(faces), time.monotonic() - began


def face_records(shown: Scene, indices: list[int], picture: renderer.Picture, number: int) -> np.ndarray:
    """A FACE record for each person of a scene, in its order."""
    height, width = picture.pixels.shape[:2]
    size = np.array([width, height], np.float32)
    records = np.zeros(len(shown.people), FACE)
    for record, placed, index, face in zip(records, shown.people, indices, picture.faces, strict=True):
        seen = placed.look
        record["picture"], record["person"] = number, index
        record["box"], record["landmarks"] = np.array(face.box) * np.tile(size, 2), face.landmarks * size
        record["traits"], record["pose"] = placed.person.traits, (seen.yaw, seen.pitch, seen.roll)
        record["expression"], record["intensity"] = look.EXPRESSIONS.index(seen.expression), seen.intensity
        record["direction"], record["gaze"] = look.DIRECTIONS.index(seen.direction), seen.gaze
        record["glasses"], record["hat"] = seen.glasses, seen.hat
    return records
