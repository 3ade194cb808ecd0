"""Images to learn faces from, with all that is known about each face."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...world import look
from ...world.person import TRAITS, person_of
from ...world.renderer import SeenFace, render, seen_faces
from ...world.scene import LIGHTS, PLACES, SIDE_PX, SPOTS, STUDIO, Scene, draw_portrait
from .scenes import SCENES, SCENES_SEED, fingerprint, scene_pool, training_scene

WHERE = (*PLACES, STUDIO)
SPOT_NAMES = tuple(spot.name for spot in SPOTS)
CHUNK = 50
NICE = 5  # rendering ahead yields to whatever else the machine does

IMAGE = np.dtype([("count", "i4"), ("place", "i4"), ("light", "i4")])
FACE = np.dtype(
    [
        ("image", "i4"),
        ("box", "f4", 4),
        ("landmarks", "f4", (5, 2)),
        ("traits", "f4", len(TRAITS)),
        ("pose", "f4", 3),
        ("expression", "i4"),
        ("direction", "i4"),
        ("spot", "i4"),
    ]
)
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray, float]  # pixels, images, faces, seconds


@dataclass(frozen=True)
class Portraits:
    """Which portraits a pool has: one of each person `first` ... `first + images - 1`, all of size_px a side."""

    seed: int
    first: int
    images: int
    size_px: int


@dataclass(frozen=True, eq=False)
class Pool:
    """Rendered images and their faces.

    pixels    uint8 RGB [images, side, side, 3], read from the disk as needed
    images  IMAGE records; `place` counts in WHERE, `light` in LIGHTS
    faces     FACE records by image; box and landmarks in pixels, pose is yaw, pitch and roll in degrees;
              `spot` counts in SPOT_NAMES, -1 in portraits
    seconds   spent rendering
    """

    pixels: np.ndarray
    images: np.ndarray
    faces: np.ndarray
    seconds: float

    def without_people_of(self, others: tuple["Pool", ...]) -> "Pool":
        """The same images, but of their faces only those of people who are in none of the other pools."""
        known = {traits.tobytes() for other in others for traits in other.faces["traits"]}
        new = [traits.tobytes() not in known for traits in self.faces["traits"]]
        return replace(self, faces=self.faces[new])


def open_scenes(folder: Path, first: int, end: int) -> Pool:
    """The scenes first ... end - 1 of those that the base model learns from, rendered unless `folder` holds them."""
    rendered = scene_pool(folder, SCENES_SEED, SCENES)
    path = folder / f"labels_{fingerprint((SCENES_SEED, first, end))}"
    if not _part(path, "faces").exists():
        _label_all(path, first, end)
    images, faces = (np.load(_part(path, kind)) for kind in ("images", "faces"))
    return Pool(rendered.pixels[first:end], images, faces, rendered.seconds * (end - first) / SCENES)


def open_portraits(folder: Path, plan: Portraits, workers: int | None = None) -> Pool:
    """The portraits of a plan, rendered into `folder` unless they are there; another world has another name."""
    path = folder / f"portraits_{fingerprint(astuple(plan))}"
    if not path.with_suffix(".json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _render_all(path, plan, workers or os.cpu_count() or 1)
    header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    pixels, images, faces = (np.load(_part(path, kind), mmap_mode="r") for kind in ("pixels", "images", "faces"))
    return Pool(pixels, np.array(images), np.array(faces), header["seconds"])


def face_records(scene: Scene, seen: tuple[SeenFace, ...], side_px: int, number: int) -> np.ndarray:
    """A FACE record for each person of a square image, in the scene's order."""
    records = np.zeros(len(scene.people), FACE)
    for record, placed, face in zip(records, scene.people, seen, strict=True):
        own = placed.look
        record["image"] = number
        record["box"], record["landmarks"] = np.array(face.box) * side_px, face.landmarks * side_px
        record["traits"], record["pose"] = placed.person.traits, (own.yaw, own.pitch, own.roll)
        record["expression"] = look.EXPRESSIONS.index(own.expression)
        record["direction"] = look.DIRECTIONS.index(own.direction)
        record["spot"] = SPOT_NAMES.index(placed.spot) if placed.spot else -1
    return records


def _image(scene: Scene) -> tuple[int, int, int]:
    return len(scene.people), WHERE.index(scene.place), LIGHTS.index(scene.light)


def _part(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}_{kind}.npy")


def _label_all(path: Path, first: int, end: int) -> None:
    """What `open_scenes` knows of each face, kept beside the images: working it out takes a minute."""
    shown = [training_scene(SCENES_SEED, number) for number in tqdm(range(first, end), desc="labels", disable=None)]
    faces = [
        face_records(scene, seen_faces(scene, SIDE_PX, SIDE_PX), SIDE_PX, place) for place, scene in enumerate(shown)
    ]
    np.save(_part(path, "images"), np.array([_image(scene) for scene in shown], IMAGE))
    np.save(_part(path, "faces"), np.concatenate(faces))


def _render_all(path: Path, plan: Portraits, workers: int) -> None:
    shape = (plan.images, plan.size_px, plan.size_px, 3)
    pixels = np.lib.format.open_memmap(_part(path, "pixels"), mode="w+", dtype=np.uint8, shape=shape)
    images = np.zeros(plan.images, IMAGE)
    faces, seconds = [], 0.0
    starts = range(0, plan.images, CHUNK)
    chunks = _rendered(plan, starts, workers)
    for start, chunk in zip(starts, tqdm(chunks, desc=path.name, total=len(starts), disable=None), strict=True):
        end = start + len(chunk[0])
        pixels[start:end], images[start:end] = chunk[0], chunk[1]
        faces.append(chunk[2])
        seconds += chunk[3]
    pixels.flush()
    np.save(_part(path, "images"), images)
    np.save(_part(path, "faces"), np.concatenate(faces))
    header = path.with_suffix(".part")
    header.write_text(json.dumps({"plan": asdict(plan), "seconds": seconds}), encoding="utf-8")
    os.replace(header, path.with_suffix(".json"))


def _rendered(plan: Portraits, starts: range, workers: int) -> Iterator[Chunk]:
    if workers < 2:
        yield from map(_render_chunk, repeat(plan), starts)
        return
    # Forked children of a process whose torch has begun to use threads may hang; spawned ones cannot.
    with ProcessPoolExecutor(workers, get_context("spawn"), _yield) as pool:
        yield from pool.map(_render_chunk, repeat(plan), starts)


def _yield() -> None:
    if hasattr(os, "nice"):
        os.nice(NICE)


def _render_chunk(plan: Portraits, start: int) -> Chunk:
    began = time.monotonic()
    numbers = range(start, min(start + CHUNK, plan.images))
    pixels = np.zeros((len(numbers), plan.size_px, plan.size_px, 3), np.uint8)
    images = np.zeros(len(numbers), IMAGE)
    faces = []
    for place, number in enumerate(numbers):
        rng = np.random.default_rng([plan.seed, number])
        shown = draw_portrait(rng, person_of(plan.first + number))
        image = render(shown, plan.size_px, plan.size_px)
        pixels[place], images[place] = image.pixels, _image(shown)
        faces.append(face_records(shown, image.faces, plan.size_px, number))
    return pixels, images, np.concatenate(faces), time.monotonic() - began
