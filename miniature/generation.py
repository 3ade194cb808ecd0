"""Images from captions by the shipped models, in diffusers' and transformers' classes, without ComfyUI."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from withanyone_core.schedule import released_sigmas

from .diffusers_models import CaptionedFlux, shipped_autoencoder, shipped_base_model
from .models.autoencoder import LATENT_CHANNELS, PIXELS_A_CELL, SCALE, SHIFT
from .models.caption_ids import word_ids
from .weights_folder import WEIGHTS
from .world.scene import SIDE_PX

STEPS, GUIDANCE = 20, 4.0


@dataclass(frozen=True)
class ImageGenerator:
    """The shipped base model and VAE, ready to generate."""

    model: CaptionedFlux
    autoencoder: nn.Module

    def generate(
        self, captions: Sequence[str], seed: int, steps: int = STEPS, guidance: float = GUIDANCE
    ) -> np.ndarray:
        """An image for each caption, uint8 RGB [captions, SIDE_PX, SIDE_PX, 3], all from the noise of one seed."""
        return self.from_noise(noise(len(captions), seed), captions, steps, guidance)

    @torch.inference_mode()
    def from_noise(
        self,
        latents: Tensor,
        captions: Sequence[str],
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        conditioning: Callable[[], AbstractContextManager[None]] = nullcontext,
        watch: Callable[[int, Tensor], None] = lambda step, clean: None,
    ) -> np.ndarray:
        """The images that noise [captions, 8, h, w] becomes, by Euler's rule on the released schedule.

        conditioning  a context around the forward passes, in which an adapter conditions on its people
        watch         called after each step, from 1, with the clean estimate of the latents
        """
        t5_ids, clip_ids = word_ids(captions)
        sigmas = released_sigmas(steps, SIDE_PX, SIDE_PX)
        pull = torch.full((len(captions),), guidance)
        with conditioning():
            for step, (sigma, following) in enumerate(pairwise(sigmas), start=1):
                velocity = self.model(latents, sigma.expand(len(captions)), pull, t5_ids, clip_ids)
                watch(step, latents - sigma * velocity)
                latents = latents + (following - sigma) * velocity
        return self.decode(latents)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents [N, 8, h, w] as images, uint8 RGB [N, SIDE_PX, SIDE_PX, 3]."""
        return pixels_of(self.autoencoder.decode(latents / SCALE + SHIFT).sample)


def noise(images: int, seed: int) -> Tensor:
    """What a seed's images are generated from, float32 [images, 8, h, w]."""
    side = SIDE_PX // PIXELS_A_CELL
    return torch.randn((images, LATENT_CHANNELS, side, side), generator=torch.Generator().manual_seed(seed))


def shipped_generator(folder: Path = WEIGHTS) -> ImageGenerator:
    """The generator made of a folder of weights."""
    return ImageGenerator(shipped_base_model(folder), shipped_autoencoder(folder))


def pixels_of(decoded: Tensor) -> np.ndarray:
    """What the VAE gives, [N, 3, H, W] in -1..1, as uint8 [N, H, W, 3]."""
    return decoded.add(1).mul(127.5).round().clamp(0, 255).byte().movedim(1, -1).numpy()
