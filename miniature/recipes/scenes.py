"""Scenes to learn from, rendered once into a scratch folder and read from there at random."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..world.captions import caption
from ..world.person import person_of
from ..world.renderer import render, seen_faces
from ..world.scene import Scene, draw_scene

SIZE_PX = 160
TRAINING_PEOPLE = 1_000_000  # people of this index and above are kept for evidence
SHARE_BY_COUNT = (0.25, 0.35, 0.2, 0.2)  # of scenes with 1, 2, 3 and 4 people
FEATURE_REACH = 0.35  # of the eyes' distance, beyond the landmarks: from brows to chin
_CHUNK = 64


@dataclass(frozen=True)
class ScenePool:
    """Rendered scenes: `pixels` uint8 RGB [scenes, 160, 160, 3], read from disk as needed, and a caption for each.

    `seconds` is what rendering them took.
    """

    pixels: np.ndarray
    captions: tuple[str, ...]
    seconds: float


def training_scene(seed: int, index: int, people: int | None = None) -> Scene:
    """The scene of that number in a seed's endless row, with a drawn number of people where none is given."""
    return _scene(np.random.default_rng([seed, index]), 0, TRAINING_PEOPLE, people)


def unseen_scene(seed: int, index: int, people: int | None = None) -> Scene:
    """As `training_scene`, with people who are in no training set."""
    return _scene(np.random.default_rng([seed, index]), TRAINING_PEOPLE, 2 * TRAINING_PEOPLE, people)


def scene_pool(folder: Path, seed: int, scenes: int) -> ScenePool:
    """The first scenes of a seed, rendered into `folder` unless they are there.."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scenes_{seed}_{scenes}.npy"
    if not path.exists():
        _render_all(path, seed, scenes)
    said = json.loads(_words_path(path).read_text())
    return ScenePool(np.load(path, mmap_mode="r"), tuple(said["captions"]), said["seconds"])


def feature_cells(scene: Scene, cells: int) -> np.ndarray:
    """Bool [cells, cells] over the picture: where brows, eyes, nose and mouth are, whose little area says most."""
    found = np.zeros((cells, cells), bool)
    for face in seen_faces(scene, SIZE_PX, SIZE_PX):
        points = face.landmarks
        reach = FEATURE_REACH * np.linalg.norm(points[1] - points[0])
        first = np.floor((points.min(axis=0) - reach) * cells).astype(int).clip(0)
        last = np.ceil((points.max(axis=0) + reach) * cells).astype(int)
        found[first[1] : last[1], first[0] : last[0]] = True
    return found


def rendered_scenes(seed: int, start: int, count: int) -> tuple[np.ndarray, list[str]]:
    """The training scenes of these numbers: pixels uint8 RGB [count, 160, 160, 3] and captions."""
    scenes = [training_scene(seed, index) for index in range(start, start + count)]
    return np.stack([render(scene, SIZE_PX, SIZE_PX).pixels for scene in scenes]), [caption(scene) for scene in scenes]


def signed_pixels(pixels: np.ndarray) -> Tensor:
    """Pixels uint8 [N, H, W, 3] as the coder reads them, float32 [N, 3, H, W] in -1..1."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _scene(rng: np.random.Generator, first: int, last: int, people: int | None) -> Scene:
    count = people or 1 + int(rng.choice(len(SHARE_BY_COUNT), p=SHARE_BY_COUNT))
    return draw_scene(rng, [person_of(int(index)) for index in rng.integers(first, last, count)])


def _render_all(path: Path, seed: int, scenes: int) -> None:
    started = time.monotonic()
    part = path.with_suffix(".part")
    shape = (scenes, SIZE_PX, SIZE_PX, 3)
    pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    captions: list[str] = []
    for rendered, said in tqdm(_rendered(seed, scenes), total=-(-scenes // _CHUNK), desc=f"rendering {scenes} scenes"):
        pixels[len(captions) : len(captions) + len(said)] = rendered
        captions += said
    pixels.flush()
    del pixels
    _words_path(path).write_text(json.dumps({"captions": captions, "seconds": time.monotonic() - started}))
    os.replace(part, path)


def _rendered(seed: int, scenes: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    starts = range(0, scenes, _CHUNK)
    counts = [min(_CHUNK, scenes - start) for start in starts]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as workers:
        yield from workers.map(rendered_scenes, repeat(seed), starts, counts)


def _words_path(path: Path) -> Path:
    return path.with_suffix(".json")
