"""Scenes to learn from, rendered once into a scratch folder and read from there at random."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...world.person import person_of
from ...world.renderer import render
from ...world.scene import LAYOUTS, SIDE_PX, Scene, draw_scene

TRAINING_PEOPLE = 1_000_000  # people of this index and above are kept for evidence
SCENES_SEED, SCENES = 0, 12_000  # one set for all models, so that it is rendered once
_CHUNK = 64
_SAMPLED = 16


@dataclass(frozen=True)
class ScenePool:
    """Rendered scenes: `pixels` uint8 RGB [scenes, SIDE_PX, SIDE_PX, 3], read from disk as needed.

    `seconds` is what rendering them took.
    """

    pixels: np.ndarray
    seconds: float


def training_scene(seed: int, index: int, people: int | None = None) -> Scene:
    """The scene of that number in a seed's endless row, with a drawn number of people where none is given."""
    return _scene(np.random.default_rng([seed, index]), 0, TRAINING_PEOPLE, people)


def unseen_scene(seed: int, index: int, people: int | None = None) -> Scene:
    """As `training_scene`, with people who are in no training set."""
    return _scene(np.random.default_rng([seed, index]), TRAINING_PEOPLE, 2 * TRAINING_PEOPLE, people)


def scene_pool(folder: Path, seed: int, scenes: int) -> ScenePool:
    """The first scenes of a seed, rendered into `folder` unless they are there; another world has another name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scenes_{fingerprint((seed, scenes))}.npy"
    if not path.exists():
        _render_all(path, seed, scenes)
    seconds = json.loads(path.with_suffix(".json").read_text())["seconds"]
    return ScenePool(np.load(path, mmap_mode="r"), seconds)


def rendered_scenes(seed: int, start: int, count: int) -> np.ndarray:
    """The training scenes of these numbers, pixels uint8 RGB [count, SIDE_PX, SIDE_PX, 3]."""
    scenes = [training_scene(seed, index) for index in range(start, start + count)]
    return np.stack([render(scene, SIDE_PX, SIDE_PX).pixels for scene in scenes])


def signed_pixels(pixels: np.ndarray) -> Tensor:
    """Pixels uint8 [N, H, W, 3] as the VAE reads them, float32 [N, 3, H, W] in -1..1."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def fingerprint(plan: tuple) -> str:
    """Changes with what is to be rendered and with the world that it is rendered from."""
    return sha256(json.dumps(plan).encode() + _look_of_the_world()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _look_of_the_world() -> bytes:
    """What a few scenes look like: code may be rewritten, but must not draw anything else."""
    return b"".join(render(unseen_scene(0, index), SIDE_PX, SIDE_PX).pixels.tobytes() for index in range(_SAMPLED))


def _scene(rng: np.random.Generator, first: int, last: int, people: int | None) -> Scene:
    count = people or 1 + int(rng.integers(len(LAYOUTS)))
    return draw_scene(rng, [person_of(int(index)) for index in rng.integers(first, last, count)])


def _render_all(path: Path, seed: int, scenes: int) -> None:
    started = time.monotonic()
    part = path.with_suffix(".part")
    shape = (scenes, SIDE_PX, SIDE_PX, 3)
    pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    done = 0
    for rendered in tqdm(_rendered(seed, scenes), total=-(-scenes // _CHUNK), desc=f"rendering {scenes} scenes"):
        pixels[done : done + len(rendered)] = rendered
        done += len(rendered)
    pixels.flush()
    del pixels
    path.with_suffix(".json").write_text(json.dumps({"seconds": time.monotonic() - started}))
    os.replace(part, path)


def _rendered(seed: int, scenes: int) -> Iterator[np.ndarray]:
    starts = range(0, scenes, _CHUNK)
    counts = [min(_CHUNK, scenes - start) for start in starts]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as workers:
        yield from workers.map(rendered_scenes, repeat(seed), starts, counts)
