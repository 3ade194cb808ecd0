"""The base model's recipe at a size that learns in a minute: 64 channels, windows of one person, directions only."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from withanyone_pack.tests.training.rooms import add_training

add_training()

from diffusers import FluxTransformer2DModel

from miniature.diffusers_models import CaptionedFlux, shipped_autoencoder
from miniature.lab.recipes.base_model import ARC, RECIPE, predict
from miniature.lab.recipes.latents import LatentBatch, Latents
from miniature.lab.recipes.pool import IMAGE, WHERE, Pool, face_records
from miniature.lab.recipes.scenes import SCENES_SEED, signed_pixels, training_scene, unseen_scene
from miniature.lab.recipes.training import Run, new_run, train
from miniature.lab.recipes.windows import window_of
from miniature.models.autoencoder import LATENT_CHANNELS
from miniature.models.backbone import AXES, CELL_LATENTS, POOLED_WIDTH, TEXT_WIDTH
from miniature.models.caption_ids import word_ids
from miniature.world.captions import caption
from miniature.world.renderer import render
from miniature.world.scene import CELLS, LIGHTS, SIDE_PX, SPOT_CELLS, SPOTS, Scene
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch

WIDTH, SINGLE_BLOCKS = 64, 3
SCENES, STEPS, WINDOWS = 300, 700, 32
SPOT = next(number for number, spot in enumerate(SPOTS) if spot.name == "middle")
SAMPLER_STEPS, GUIDANCE = 12, 2.5
_LATENTS = CELL_LATENTS * SPOT_CELLS


class Small(nn.Module):
    """As base_model.InTraining, with a smaller transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = CaptionedFlux()
        self.model.flux = FluxTransformer2DModel(
            patch_size=1,
            in_channels=LATENT_CHANNELS * CELL_LATENTS**2,
            num_layers=1,
            num_single_layers=SINGLE_BLOCKS,
            attention_head_dim=WIDTH,
            num_attention_heads=1,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=POOLED_WIDTH,
            guidance_embeds=True,
            axes_dims_rope=AXES,
        )
        self.adapter = AdapterNetwork([replace(ARC, hidden=WIDTH, heads=1, layers=1 + SINGLE_BLOCKS)])
        for layer in self.adapter[Branch.ARC].attention:
            nn.init.zeros_(layer.to_out.weight)


class OnePerson(Latents):
    """Windows of scenes of one person in the middle."""

    def draw_faces(self, rng: np.random.Generator, count: int) -> tuple[int, np.ndarray]:
        return SPOT, rng.integers(len(self.pool.faces), size=count)

    def _scene(self, image: int) -> Scene:
        return one_person(training_scene, image)


@cache
def one_person(scene_of: Callable[[int, int, int], Scene], number: int) -> Scene:
    """The first scene of one person in the middle from so far on in a row."""
    return next(
        scene
        for index in range(20 * number, 20 * number + 20)
        if (scene := scene_of(SCENES_SEED, index, 1)).people[0].spot == SPOTS[SPOT].name
    )


def trained(steps: int = STEPS) -> Run:
    """The recipe's own steps on little data."""
    recipe = replace(RECIPE, build=Small, steps=steps, learning_rate=4e-3, warmup=20, average=0.95)
    run = new_run(recipe, seed=0, device="cpu")
    train(recipe, run, little_data(steps))
    return run


def pool_of(scenes: Sequence[Scene]) -> Pool:
    """Scenes rendered, with what a pool knows of them."""
    drawn = [render(scene, SIDE_PX, SIDE_PX) for scene in scenes]
    faces = [
        face_records(scene, image.faces, SIDE_PX, number)
        for number, (scene, image) in enumerate(zip(scenes, drawn, strict=True))
    ]
    images = np.array([(len(scene.people), WHERE.index(scene.place), LIGHTS.index(scene.light)) for scene in scenes])
    records = np.rec.fromarrays(images.T.astype(np.int32), IMAGE)
    return Pool(np.stack([image.pixels for image in drawn]), records, np.concatenate(faces), 0.0)


def little_data(steps: int) -> OnePerson:
    pool = pool_of([one_person(training_scene, number) for number in range(SCENES)])
    windows = np.stack([window_of(each, SPOT) for each in pool.pixels])
    with torch.inference_mode():
        latents = shipped_autoencoder().encode(signed_pixels(windows)).latent_dist.mean
    encoded = np.zeros((SCENES, LATENT_CHANNELS, CELL_LATENTS * CELLS, CELL_LATENTS * CELLS), np.float16)
    row, column = CELL_LATENTS * SPOTS[SPOT].row, CELL_LATENTS * SPOTS[SPOT].column
    encoded[:, :, row : row + _LATENTS, column : column + _LATENTS] = latents.numpy()
    # who somebody is, as a recognizer would say it: any fixed function of the traits
    traits = pool.faces["traits"]
    embeddings = traits @ np.random.default_rng(0).standard_normal((traits.shape[1], ARC.embedding), np.float32)
    return OnePerson(pool, encoded, embeddings, 0, windows=WINDOWS, window_steps=steps, plain_steps=steps)


@torch.inference_mode()
def sampled(module: nn.Module, scenes: Sequence[Scene]) -> np.ndarray:
    """Windows generated from the captions of unseen scenes, uint8 RGB [scenes, 80, 80, 3]."""
    count, spot = len(scenes), SPOTS[SPOT]
    noise = torch.randn(count, LATENT_CHANNELS, _LATENTS, _LATENTS, generator=torch.Generator().manual_seed(1))
    ids = dict(zip(("t5_ids", "clip_ids"), word_ids([caption(scene) for scene in scenes]), strict=True))
    nobody = torch.zeros(count, 1, SPOT_CELLS**2, dtype=torch.bool)
    batch = LatentBatch(
        clean=noise,
        noise=noise,
        sigma=torch.ones(count),
        guidance=torch.ones(count),
        corner=torch.tensor((spot.column, spot.row)),
        embedding=torch.zeros(count, 1, ARC.embedding),
        members=nobody,
        **ids,
    )
    latents = noise
    for step in range(SAMPLER_STEPS):
        at = batch._replace(clean=latents, noise=latents, sigma=torch.full((count,), 1 - step / SAMPLER_STEPS))
        said, unsaid = (velocity(module, each) for each in (at, at.unconditional()))
        latents = latents - (unsaid + GUIDANCE * (said - unsaid)) / SAMPLER_STEPS
    decoded = shipped_autoencoder().decode(latents).sample
    return decoded.add(1).mul(127.5).round().clamp(0, 255).byte().movedim(1, -1).numpy()


def velocity(module: nn.Module, batch: LatentBatch) -> Tensor:
    return predict(module.model, module.adapter, batch, batch.guidance)


def unseen(count: int) -> list[Scene]:
    return [one_person(unseen_scene, number) for number in range(count)]
