"""Recipe of the picture coder: squares cut from scenes, coded and decoded."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from ..models.autoencoder import SCALE, diffusers_autoencoder
from ..weights_folder import CODER, VAE, WEIGHTS
from .scenes import rendered_scenes, scene_pool, signed_pixels
from .training import Recipe

SCENES = 6000
# Hardly any of the coder looks farther than a few cells: parts of a picture teach as much as wholes, at a quarter of
# the price.
SQUARE_PX, SQUARES_A_STEP = 80, 8
# Small enough to keep detail, large enough that near-by latents mean near-by pictures, which the picture model needs.
KL_WEIGHT = 3e-4
EDGE_WEIGHT = 0.5
MEASURED_SCENES = 128  # whose latents tell the deviation of each channel


class Squares:
    """Squares cut out of scenes at random."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._pool = scene_pool(scratch, seed, SCENES)
        self._seed = seed
        self.seconds = self._pool.seconds

    def __call__(self, step: int) -> tuple[Tensor]:
        """Float32 [squares, 3, 80, 80] in -1..1."""
        rng = np.random.default_rng([self._seed, step])
        height, width = self._pool.pixels.shape[1:3]
        scenes = rng.integers(0, SCENES, SQUARES_A_STEP)
        tops = rng.integers(0, height - SQUARE_PX + 1, SQUARES_A_STEP)
        lefts = rng.integers(0, width - SQUARE_PX + 1, SQUARES_A_STEP)
        cut = [
            self._pool.pixels[scene, top : top + SQUARE_PX, left : left + SQUARE_PX]
            for scene, top, left in zip(scenes, tops, lefts, strict=True)
        ]
        return (signed_pixels(np.stack(cut)),)


def coding_loss(autoencoder: AutoencoderKL, batch: tuple[Tensor, ...]) -> Tensor:
    """Difference of the pictures, and of the latents from noise."""
    (pixels,) = batch
    posterior = autoencoder.encode(pixels).latent_dist
    decoded = autoencoder.decode(posterior.sample()).sample
    spread = posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()
    return picture_difference(decoded.float(), pixels) + KL_WEIGHT * 0.5 * spread.mean()


def picture_difference(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Of levels and of their slopes, for much of a drawn face is thin lines: brows, lids, lips."""
    edges = sum(l1_loss(decoded.diff(dim=axis), pixels.diff(dim=axis)) for axis in (-1, -2))
    return l1_loss(decoded, pixels) + mse_loss(decoded, pixels) + EDGE_WEIGHT * edges


@torch.no_grad()
def standardise(autoencoder: AutoencoderKL, pixels: Tensor) -> None:
    """Scales each latent channel to FLUX.1's deviation, in the two layers beside the latents.

    What the sampler sees, (latent - shift) * scale, then has deviation 1 in every channel. The means, which the KL term
    keeps small, stay: the decoder pads its input with zeros, so that only scaling is exact to the border.
    """
    latents = autoencoder.encode(pixels).latent_dist.mean
    gain = 1 / (SCALE * latents.square().mean(dim=(0, 2, 3)).sqrt())
    out, into = autoencoder.encoder.conv_out, autoencoder.decoder.conv_in
    channels = len(gain)
    out.weight[:channels] *= gain[:, None, None, None]
    out.bias[:channels] *= gain
    out.bias[channels:] += 2 * gain.log()  # the second half is the logarithm of the variance
    into.weight /= gain[None, :, None, None]


def export(autoencoder: AutoencoderKL, folder: Path) -> tuple[Path, ...]:
    """Writes a folder in diffusers' form; ComfyUI reads its weights too."""
    pixels, _ = rendered_scenes(0, 0, MEASURED_SCENES)
    standardise(autoencoder, signed_pixels(pixels).to(autoencoder.device))
    return save(autoencoder, folder)


def save(autoencoder: AutoencoderKL, folder: Path) -> tuple[Path, ...]:
    """Writes the folder of the coder in float16."""
    autoencoder.half().save_pretrained(folder / VAE)
    return folder / CODER, folder / VAE / autoencoder.config_name


def shipped_autoencoder(folder: Path = WEIGHTS) -> AutoencoderKL:
    """The trained coder in float32, not to be trained further."""
    return AutoencoderKL.from_pretrained(folder / VAE).float().eval().requires_grad_(False)


RECIPE = Recipe(
    name="autoencoder",
    steps=9000,
    learning_rate=2e-3,
    build=diffusers_autoencoder,
    batches=Squares,
    loss=coding_loss,
    export=export,
    average=0.995,
)
