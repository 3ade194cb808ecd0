"""Flow matching as the released program does it: clean latents at sigma 0 (timestep 0), Gaussian noise at 1.

Letters in tensor names: B batch, C latent channels, H and W latent rows and columns. Sigmas are between 0 and 1.
"""

import torch
from torch import Tensor

from withanyone_core.base_models.base_model import BaseModel
from withanyone_core.base_models.flux1 import FLUX_1
from withanyone_core.schedule import shift_sigmas

from ..base.family import Latents

SIGMAS = 1000  # entries of the table that sigmas are drawn from
# FLUX.2's shift depends on them too; its undistilled models, which are trained, are sampled with so many.
_SAMPLER_STEPS = 50
_LOGVAR = (-30.0, 20.0)  # where diffusers bounds the posterior's log-variance


def sigma_table(tokens: int, base: BaseModel = FLUX_1) -> Tensor:
    """The released table for a number of image tokens, float32 [1000] from 1 to 0: a uniform grid shifted to noise."""
    return shifted_sigmas(torch.linspace(1, 0, SIGMAS), tokens, base)


def shifted_sigmas(sigmas: Tensor, tokens: int, base: BaseModel = FLUX_1) -> Tensor:
    """Sigmas moved towards noise, the further the more image tokens there are; 0 and 1 stay what they are.

    By the true number of tokens; the released sampler counts 64 times fewer, so its schedule is another one.
    """
    return shift_sigmas(sigmas, base.mu(tokens, _SAMPLER_STEPS))


def sample_latent(mean: Tensor, logvar: Tensor, noise: Tensor, scale: Latents) -> Tensor:
    """A draw from the VAE's posterior as the transformer sees it, all of shape [B, C, H, W]."""
    return scale.into_model(mean + torch.exp(0.5 * logvar.clamp(*_LOGVAR)) * noise)


def add_noise(clean: Tensor, noise: Tensor, sigmas_B: Tensor) -> Tensor:
    """`(1 - t) clean + t noise`."""
    sigma = _beside(sigmas_B, clean)
    return (1 - sigma) * clean + sigma * noise


def target_velocity(clean: Tensor, noise: Tensor) -> Tensor:
    # The derivative of (1 - t) clean + t noise by t.
    return noise - clean


def flow_losses(velocity: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample, float32 [B]; their mean is the loss (released program: no weight over t)."""
    return (velocity.float() - target.float()).square().flatten(1).mean(1)


def clean_estimate(noisy: Tensor, velocity: Tensor, sigmas_B: Tensor) -> Tensor:
    """`noisy - t velocity`, float32."""
    # (1 - t) clean + t noise - t (noise - clean) is clean.
    return noisy.float() - _beside(sigmas_B, noisy) * velocity.float()


def _beside(sigmas_B: Tensor, other: Tensor) -> Tensor:
    return sigmas_B.float().reshape(-1, *[1] * (other.ndim - 1))
