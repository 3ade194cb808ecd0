"""Pictures from captions by the shipped models, in diffusers' and transformers' classes, without ComfyUI."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from withanyone_core.flux_keys import to_diffusers
from withanyone_core.schedule import released_sigmas

from .models.autoencoder import LATENT_CHANNELS, PIXELS_A_CELL, SCALE, SHIFT
from .recipes.autoencoder import shipped_autoencoder
from .recipes.caption_ids import word_ids
from .recipes.picture_model import PictureModel
from .recipes.scenes import SIZE_PX
from .weights_folder import CLIP, FLUX, T5, WEIGHTS

STEPS, GUIDANCE = 20, 4.0


@dataclass(frozen=True)
class Painter:
    """The shipped picture model and coder, ready to paint."""

    model: PictureModel
    autoencoder: nn.Module

    def paint(self, captions: Sequence[str], seed: int, steps: int = STEPS, guidance: float = GUIDANCE) -> np.ndarray:
        """A picture for each caption, uint8 RGB [captions, 160, 160, 3], all from the noise of one seed."""
        return self.painted_from(noise(len(captions), seed), captions, steps, guidance)

    @torch.inference_mode()
    def painted_from(
        self, latents: Tensor, captions: Sequence[str], steps: int = STEPS, guidance: float = GUIDANCE
    ) -> np.ndarray:
        """The pictures that noise [captions, 16, 20, 20] becomes, by Euler's rule on the released schedule."""
        t5_ids, clip_ids = word_ids(captions)
        sigmas = released_sigmas(steps, SIZE_PX, SIZE_PX)
        pull = torch.full((len(captions),), guidance)
        for sigma, following in pairwise(sigmas):
            velocity = self.model(latents, sigma.expand(len(captions)), pull, t5_ids, clip_ids)
            latents = latents + (following - sigma) * velocity
        return pixels_of(self.autoencoder.decode(latents / SCALE + SHIFT).sample)


def noise(pictures: int, seed: int) -> Tensor:
    """What a seed's pictures are painted from, float32 [pictures, 16, 20, 20]."""
    side = SIZE_PX // PIXELS_A_CELL
    return torch.randn((pictures, LATENT_CHANNELS, side, side), generator=torch.Generator().manual_seed(seed))


def shipped_painter(folder: Path = WEIGHTS) -> Painter:
    """The painter made of a folder of weights."""
    model = PictureModel()
    t5, clip = _float(folder / T5), _float(folder / CLIP)
    own = model.clip.state_dict()
    model.flux.load_state_dict(to_diffusers(_float(folder / FLUX)))
    model.t5.load_state_dict(t5 | {"encoder.embed_tokens.weight": t5["shared.weight"]})
    model.clip.load_state_dict({key if key in own else key.removeprefix("text_model."): clip[key] for key in clip})
    return Painter(model.eval().requires_grad_(False), shipped_autoencoder(folder))


def pixels_of(decoded: Tensor) -> np.ndarray:
    """What the coder gives, [N, 3, H, W] in -1..1, as uint8 [N, H, W, 3]."""
    return decoded.add(1).mul(127.5).round().clamp(0, 255).byte().movedim(1, -1).numpy()


def _float(path: Path) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(path).items()}
