"""Recipe that goes on with the coder's second half alone: better pictures out of latents that others already learnt."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .autoencoder import Squares, picture_difference, save, shipped_autoencoder
from .training import Recipe


def with_free_decoder() -> AutoencoderKL:
    """The shipped coder, of which only the decoder learns."""
    autoencoder = shipped_autoencoder()
    autoencoder.decoder.requires_grad_(True)
    return autoencoder


def decoding_loss(autoencoder: AutoencoderKL, batch: tuple[Tensor, ...]) -> Tensor:
    """Difference of the pictures after coding and decoding."""
    (pixels,) = batch
    with torch.no_grad():
        latents = autoencoder.encode(pixels).latent_dist.sample()
    return picture_difference(autoencoder.decode(latents).sample.float(), pixels)


RECIPE = Recipe(
    name="decoder",
    steps=6000,
    learning_rate=1e-3,
    build=with_free_decoder,
    batches=Squares,
    loss=decoding_loss,
    export=save,
)
