"""Scenes as the picture model learns them: coded once, then mixed with noise anew in each step."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..models.autoencoder import SCALE, SHIFT
from ..weights_folder import CODER, WEIGHTS
from .autoencoder import shipped_autoencoder
from .caption_ids import word_ids
from .cards import digest_of
from .face_reader import SceneFaces, faces_of
from .scenes import feature_cells, scene_pool, signed_pixels, training_scene

SCENES = 16_000
PICTURES_A_STEP = 32
CODED_AT_ONCE = 64
NO_CAPTION_SHARE = 0.1
FEATURE_WEIGHT = 5.0  # of the loss where a face's features are: a quarter of a picture, and all of a mood
# FLUX.1-dev is distilled: how strongly the caption pulls is an input, 1 for not more than in nature. Ours learns that
# from its own difference with and without caption ("model guidance", arXiv 2502.12154), once there is one to speak of.
GUIDED_SHARE, PLAIN_STEPS = 0.25, 13_200
LARGEST_GUIDANCE = 5.0


class Phase(NamedTuple):
    """What one stretch of the training dwells on.

    start           the step that it starts from
    middle          of the logit-normal draws of noise levels: the larger, the nearer to noise
    reading_weight  of what is to be read off the pictures that the model foresees
    """

    start: int
    middle: float
    reading_weight: float


# People are painted before they have moods. Which way a head turns is settled where nearly all is noise, so there the
# second phase dwells; its reading costs the faces some of their order, which the last gives back.
PHASES = (Phase(0, 0.3, 0.0), Phase(10_100, 0.8, 0.3), Phase(14_200, 0.5, 0.05))


def phase_of(step: int) -> Phase:
    """The last phase that has started by then."""
    return next(phase for phase in reversed(PHASES) if phase.start <= step)


class PictureBatch(NamedTuple):
    """Scenes as the sampler meets them.

    mixed             latents among noise, [B, 16, h, w]
    level, guidance   [B], noise levels in 0..1 and guidances from 1
    t5_ids, clip_ids  words of the captions, [B, 32] and [B, 40]
    velocity          to be learnt, before any guidance, [B, 16, h, w]
    weight            of each place, [B, 1, h, w]
    owner, box, answer, reading_weight  of each face: its picture [F], box [F, 4], look [F, 2], and how much it
                      counts whether that is to be read off what the model foresees, [F]
    """

    mixed: Tensor
    level: Tensor
    guidance: Tensor
    t5_ids: Tensor
    clip_ids: Tensor
    velocity: Tensor
    weight: Tensor
    owner: Tensor
    box: Tensor
    answer: Tensor
    reading_weight: Tensor

    def clean(self, velocity: Tensor) -> Tensor:
        """The latents without noise to which a velocity points, [B, 16, h, w]."""
        return self.mixed - self.level[:, None, None, None] * velocity


class CodedScenes:
    """Scenes as the sampler sees them, mixed with noise, beside their captions' word ids.

    mean, deviation  of the scenes' latents, [scenes, 16, h, w]
    features         bool [scenes, h, w]: where moods and directions are to be seen
    faces            all their faces
    seconds          what rendering and coding took
    """

    def __init__(
        self,
        mean: np.ndarray,
        deviation: np.ndarray,
        features: np.ndarray,
        faces: SceneFaces,
        captions: Sequence[str],
        seed: int,
        seconds: float = 0.0,
        size: int = PICTURES_A_STEP,
    ) -> None:
        self._mean, self._deviation, self._features, self._faces = mean, deviation, features, faces
        self._t5_ids, self._clip_ids = word_ids(captions)
        self._seed, self._size = seed, size
        self.seconds = seconds

    def __call__(self, step: int) -> PictureBatch:
        rng = np.random.default_rng([self._seed, 1, step])
        chosen = np.sort(rng.choice(len(self._mean), self._size, replace=False))
        mean, deviation = (part[chosen].astype(np.float32) for part in (self._mean, self._deviation))
        noise = rng.standard_normal
        clean = mean + deviation * noise(mean.shape, np.float32)
        pure = noise(mean.shape, np.float32)
        phase = phase_of(step)
        level = 1 / (1 + np.exp(-noise(self._size, np.float32) - phase.middle))
        share = level[:, None, None, None]
        guided = (rng.random(self._size) < GUIDED_SHARE) & (step >= PLAIN_STEPS)
        guidance = np.where(guided, rng.uniform(1, LARGEST_GUIDANCE, self._size), 1).astype(np.float32)
        said = torch.from_numpy(guided | (rng.random(self._size) >= NO_CAPTION_SHARE))[:, None]
        t5_ids, clip_ids = (
            torch.where(said, ids[chosen], nothing)
            for ids, nothing in zip((self._t5_ids, self._clip_ids), word_ids([""]), strict=True)
        )
        weight = np.where(self._features[chosen, None], FEATURE_WEIGHT, 1).astype(np.float32)
        faces = self._faces.of(chosen)
        return PictureBatch(
            mixed=torch.from_numpy((1 - share) * clean + share * pure),
            level=torch.from_numpy(level),
            guidance=torch.from_numpy(guidance),
            t5_ids=t5_ids,
            clip_ids=clip_ids,
            velocity=torch.from_numpy(pure - clean),
            weight=torch.from_numpy(weight),
            owner=torch.from_numpy(faces.owner),
            box=torch.from_numpy(faces.box),
            answer=torch.from_numpy(faces.answer),
            reading_weight=phase.reading_weight * said[faces.owner, 0].float(),
        )


def coded_scenes(scratch: Path, seed: int) -> CodedScenes:
    """The first scenes of a seed, rendered and coded once into `scratch` by the shipped coder."""
    pool = scene_pool(scratch, seed, SCENES)
    started = time.monotonic()
    digest = digest_of(WEIGHTS / CODER).sha256[:8]
    path = scratch / f"latents_{seed}_{SCENES}_{digest}.npy"
    if not path.exists():
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, coded(pool.pixels))
        os.replace(path.with_suffix(".part"), path)
    mean, deviation = np.load(path, mmap_mode="r")
    scenes = [training_scene(seed, index) for index in range(SCENES)]
    features = np.stack([feature_cells(scene, mean.shape[-1]) for scene in scenes])
    faces = faces_of(scenes)
    seconds = pool.seconds + time.monotonic() - started
    return CodedScenes(mean, deviation, features, faces, pool.captions, seed, seconds)


@torch.inference_mode()
@torch.autocast("cpu", torch.bfloat16)  # half the time for an error far below the posterior's own deviation
def coded(pixels: np.ndarray) -> np.ndarray:
    """Mean and deviation of scenes' latents as the sampler sees them, float16 [2, scenes, 16, 20, 20]."""
    autoencoder = shipped_autoencoder()
    starts = tqdm(range(0, len(pixels), CODED_AT_ONCE), desc="coding scenes", disable=None)
    blocks = [autoencoder.encode(signed_pixels(pixels[start : start + CODED_AT_ONCE])).latent_dist for start in starts]
    means = torch.cat([(block.mean.float() - SHIFT) * SCALE for block in blocks])
    deviations = torch.cat([block.std.float() * SCALE for block in blocks])
    return torch.stack((means, deviations)).half().numpy()
