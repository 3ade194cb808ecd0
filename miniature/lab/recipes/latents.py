"""Latents of scenes as the base model learns them: windows of one person first, then whole images."""

import os
import time
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from ...diffusers_models import shipped_autoencoder
from ...models.caption_ids import word_ids
from ...weights_folder import VAE_FILE, WEIGHTS
from ...world.captions import caption
from ...world.scene import CELLS, SPOT_CELLS, SPOTS, Scene
from .mean_embedding import mean_embeddings
from .pool import Pool, open_scenes
from .scenes import SCENES, SCENES_SEED, signed_pixels, training_scene
from .text import draw_omitted
from .windows import window_of

ENCODED_AT_ONCE = 32
WINDOWS_A_STEP, SCENES_A_STEP = 48, 12
WINDOW_STEPS = 950  # after them whole images, which cost as much a step
NO_CAPTION, NO_PERSON = 0.1, 0.15  # how often a caption or a person is left out
NOISE_MIDDLE = 0.3  # of the logit-normal sigmas: somewhat nearer to noise than to images
# FLUX.1-dev is distilled: how strongly the caption pulls is an input, 1 for not more than in nature. Ours learns that
# from its own difference with and without caption ("model guidance", arXiv 2502.12154), once there is one to speak of.
GUIDED, PLAIN_STEPS, LARGEST_GUIDANCE = 0.25, 2_100, 5.0
PX_A_CELL = 16


class LatentBatch(NamedTuple):
    """Latents and all that they are generated from.

    clean, noise       [B, 8, h, w]
    sigma, guidance    [B]
    t5_ids, clip_ids   [B, tokens]
    corner             int64 [2], column and row of the first cell in the image
    embedding          [B, P, 512] of each person
    members            bool [B, P, cells]: where each person is; nowhere if left out
    """

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    guidance: Tensor
    t5_ids: Tensor
    clip_ids: Tensor
    corner: Tensor
    embedding: Tensor
    members: Tensor

    @property
    def noisy(self) -> Tensor:
        sigma = self.sigma[:, None, None, None]
        return (1 - sigma) * self.clean + sigma * self.noise

    def rows(self, rows: Tensor) -> "LatentBatch":
        """Some of the images."""
        return LatentBatch(*(part if part is self.corner else part[rows] for part in self))

    def unconditional(self) -> "LatentBatch":
        """The same without captions and people."""
        t5_ids, clip_ids = (ids.to(self.clean.device).expand(len(self.clean), -1) for ids in word_ids([""]))
        return self._replace(t5_ids=t5_ids, clip_ids=clip_ids, members=torch.zeros_like(self.members))


@dataclass(frozen=True, eq=False)
class Latents:
    """Encoded scenes and who is in them.

    encoded     float16 [scenes, 8, h, w]
    embeddings  float32 [faces, 512]
    seconds     what rendering and encoding took
    """

    pool: Pool
    encoded: np.ndarray
    embeddings: np.ndarray
    seed: int
    seconds: float = 0.0
    windows: int = WINDOWS_A_STEP
    scenes: int = SCENES_A_STEP
    window_steps: int = WINDOW_STEPS
    plain_steps: int = PLAIN_STEPS

    def __call__(self, step: int) -> LatentBatch:
        rng = np.random.default_rng([self.seed, 1, step])
        guided = GUIDED if step >= self.plain_steps else 0.0
        return self._windows(rng, guided) if step < self.window_steps else self._scenes(rng, guided)

    @cached_property
    def _faces_of_spot(self) -> list[np.ndarray]:
        return [np.flatnonzero(self.pool.faces["spot"] == spot) for spot in range(len(SPOTS))]

    @cached_property
    def _first_face(self) -> np.ndarray:
        return np.searchsorted(self.pool.faces["image"], np.arange(len(self.encoded) + 1))

    def _windows(self, rng: np.random.Generator, guided: float) -> LatentBatch:
        """Windows of one spot, for all images of a batch have the same positions."""
        spot, faces = self.draw_faces(rng, self.windows)
        return self.windows_of(rng, faces, spot, guided)

    def draw_faces(self, rng: np.random.Generator, count: int) -> tuple[int, np.ndarray]:
        """A spot, and so many faces that are there."""
        taken = [spot for spot, faces in enumerate(self._faces_of_spot) if len(faces)]
        spot = taken[rng.integers(len(taken))]
        return spot, rng.choice(self._faces_of_spot[spot], count)

    def windows_of(self, rng: np.random.Generator, faces: np.ndarray, spot: int, guided: float = 0.0) -> LatentBatch:
        """The windows of these faces, all in one spot."""
        images = self.pool.faces["image"][faces]
        clean = np.stack([window_of(self.encoded[image].transpose(1, 2, 0), spot) for image in images])
        corner = (SPOTS[spot].column, SPOTS[spot].row)
        members = np.stack([self._cells(face, rng) for face in faces])
        members = _cut(members, corner)[:, None]
        clean = clean.transpose(0, 3, 1, 2)
        return self._batch(rng, guided, clean, images, corner, self.embeddings[faces][:, None], members)

    def _scenes(self, rng: np.random.Generator, guided: float) -> LatentBatch:
        images = np.sort(rng.choice(len(self.encoded), self.scenes, replace=False))
        most = int(self.pool.images["count"][images].max())
        embedding = np.zeros((self.scenes, most, self.embeddings.shape[1]), np.float32)
        members = np.zeros((self.scenes, most, CELLS, CELLS), bool)
        for row, image in enumerate(images):
            for place, face in enumerate(range(*self._first_face[[image, image + 1]])):
                embedding[row, place] = self.embeddings[face]
                members[row, place] = self._cells(face, rng)
        return self._batch(rng, guided, self.encoded[images], images, (0, 0), embedding, members)

    def _cells(self, face: int, rng: np.random.Generator) -> np.ndarray:
        """The cells of a person's spot or, as often, those that the box of the face reaches into, bool [CELLS, CELLS].

        Presets offer the former; the boxes that prepare.py finds are the latter.
        """
        record, found = self.pool.faces[face], np.zeros((CELLS, CELLS), bool)
        if rng.random() < 0.5:
            x1, y1, x2, y2 = record["box"] / PX_A_CELL
            found[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        else:
            spot = SPOTS[record["spot"]]
            found[spot.row : spot.row + SPOT_CELLS, spot.column : spot.column + SPOT_CELLS] = True
        return found

    def _batch(
        self,
        rng: np.random.Generator,
        guided: float,
        clean: np.ndarray,
        images: np.ndarray,
        corner: tuple[int, int],
        embedding: np.ndarray,
        members: np.ndarray,
    ) -> LatentBatch:
        count = len(images)
        pulled = rng.random(count) < guided
        silent = ~pulled & (rng.random(count) < NO_CAPTION)
        shown = ~silent[:, None] & (rng.random(members.shape[:2]) >= NO_PERSON)
        scenes = [self._scene(int(image)) for image in images]
        captions = [
            "" if mute else caption(scene, draw_omitted(rng)) for mute, scene in zip(silent, scenes, strict=True)
        ]
        sigma = 1 / (1 + np.exp(-rng.standard_normal(count, np.float32) - NOISE_MIDDLE))
        return LatentBatch(
            clean=torch.from_numpy(clean.astype(np.float32)),
            noise=torch.from_numpy(rng.standard_normal(clean.shape, np.float32)),
            sigma=torch.from_numpy(sigma),
            guidance=torch.from_numpy(np.where(pulled, rng.uniform(1, LARGEST_GUIDANCE, count), 1).astype(np.float32)),
            **dict(zip(("t5_ids", "clip_ids"), word_ids(captions), strict=True)),
            corner=torch.tensor(corner),
            embedding=torch.from_numpy(embedding),
            members=torch.from_numpy((members & shown[:, :, None, None]).reshape(*members.shape[:2], -1)),
        )

    def _scene(self, image: int) -> Scene:
        return training_scene(SCENES_SEED, image)


def _cut(cells_BHW: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    column, row = corner
    return cells_BHW[:, row : row + SPOT_CELLS, column : column + SPOT_CELLS]


def open_latents(scratch: Path, seed: int) -> Latents:
    """The scenes that all models learn from, encoded once into `scratch` by the shipped VAE."""
    pool = open_scenes(scratch, 0, SCENES)
    started = time.monotonic()
    path = scratch / f"latents_{_encoder_digest()}_{SCENES}.npy"
    if not path.exists():
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, encode(pool.pixels))
        os.replace(path.with_suffix(".part"), path)
    embeddings = mean_embeddings(pool, scratch)
    return Latents(pool, np.load(path), embeddings, seed, pool.seconds + time.monotonic() - started)


def _encoder_digest() -> str:
    """Of the encoder alone: the decoder is trained further, and no latent changes."""
    with safe_open(WEIGHTS / VAE_FILE, "np") as file:
        tensors = [file.get_tensor(key) for key in sorted(file.keys()) if key.startswith("encoder.")]
    return sha256(b"".join(tensor.tobytes() for tensor in tensors)).hexdigest()[:12]


@torch.inference_mode()
def encode(pixels: np.ndarray) -> np.ndarray:
    """Scenes as the sampler sees them, float16 [scenes, 8, h, w]."""
    autoencoder = shipped_autoencoder()
    starts = tqdm(range(0, len(pixels), ENCODED_AT_ONCE), desc="encoding scenes", disable=None)
    parts = [
        autoencoder.encode(signed_pixels(pixels[start : start + ENCODED_AT_ONCE])).latent_dist.mean for start in starts
    ]
    return torch.cat(parts).half().numpy()
