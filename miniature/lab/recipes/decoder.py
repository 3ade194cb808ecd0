"""Recipe of the decoder's last training: on what the finished base model foresees, not on true latents alone.

A sampler's last estimates are a little wrong everywhere; the decoder learns which image was meant. The encoder, and so
the latents that everything else was trained on, stays as it is.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from withanyone_core.adapter.network import AdapterNetwork, parameter_key

from ...diffusers_models import shipped_autoencoder, shipped_base_model
from ...weights_folder import JOINT_ADAPTER, WEIGHTS
from .autoencoder import face_weight, image_difference, save
from .base_model import ARC, predict
from .latents import LatentBatch, Latents, open_latents
from .perceptual import PerceptualNet
from .scenes import signed_pixels
from .training import Recipe
from .windows import window_of

WINDOWS_A_STEP = 8
NEARLY_CLEAN, SIGMAS = 2, (0.05, 0.7)  # so many of a step's windows at a sigma of 0.02, the others between these
LEAST_SIGMA = 0.02
PERCEPTUAL_WEIGHT = 0.1


class InTraining(nn.Module):
    """The VAE, of which the decoder learns, the frozen models that foresee, and the perceptual network."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder = shipped_autoencoder()
        self.autoencoder.decoder.requires_grad_(True)
        self.perceptual = PerceptualNet()


@dataclass(frozen=True, eq=False)
class Estimates:
    """Windows as the base model foresees them from noisy ones, and as they are."""

    latents: Latents

    @property
    def seconds(self) -> float:
        return self.latents.seconds

    @cached_property
    def _models(self) -> tuple[nn.Module, AdapterNetwork]:
        adapter = AdapterNetwork([ARC])
        stored = load_file(WEIGHTS / JOINT_ADAPTER)
        adapter.load_state_dict({name: stored[parameter_key(name)].float() for name in adapter.state_dict()})
        return shipped_base_model(), adapter.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """Estimates [8, 8, 10, 10], pixels [8, 3, 80, 80]; traits, expression and direction of the people."""
        rng = np.random.default_rng([self.latents.seed, 3, step])
        spot, faces = self.latents.draw_faces(rng, WINDOWS_A_STEP)
        batch = self.latents.windows_of(rng, faces, spot)
        sigma = rng.uniform(*SIGMAS, len(faces)).astype(np.float32)
        sigma[:NEARLY_CLEAN] = LEAST_SIGMA
        batch = batch._replace(sigma=torch.from_numpy(sigma))
        records = self.latents.pool.faces[faces]
        pixels = np.stack([window_of(self.latents.pool.pixels[each["image"]], spot) for each in records])
        answers = (torch.from_numpy(records[name].astype(np.int64)) for name in ("expression", "direction"))
        return self._foreseen(batch), signed_pixels(pixels), torch.from_numpy(records["traits"].copy()), *answers

    def _foreseen(self, batch: LatentBatch) -> Tensor:
        velocity = predict(*self._models, batch, batch.guidance)
        return batch.noisy - batch.sigma[:, None, None, None] * velocity


def decoding_loss(module: InTraining, batch: tuple[Tensor, ...]) -> Tensor:
    """Difference of the decoded estimate from the true window, to the pixel and to the perceptual network."""
    estimates, pixels, *answers = batch
    decoded = module.autoencoder.decode(estimates).sample.float()
    learned = module.perceptual.learning_loss(pixels, *answers)
    module.perceptual.eval().requires_grad_(False)  # the decoder is taught by it, and must not teach it
    perceived = module.perceptual.difference(decoded, pixels)
    module.perceptual.requires_grad_(True)
    return image_difference(decoded, pixels, face_weight(pixels)) + PERCEPTUAL_WEIGHT * perceived + learned


def export(module: InTraining, folder: Path) -> tuple[Path, ...]:
    return save(module.autoencoder, folder)


def _batches(scratch: Path, seed: int) -> Estimates:
    return Estimates(open_latents(scratch, seed))


RECIPE = Recipe(
    name="decoder",
    steps=600,
    learning_rate=1e-3,
    build=InTraining,
    batches=_batches,
    loss=decoding_loss,
    export=export,
)
