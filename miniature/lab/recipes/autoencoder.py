"""Recipe of the VAE: latents that a small model can learn, decoded by a decoder that forgives what it gets wrong.

Every channel is standardized and noise is added before the decoder sees it, so that near-by latents mean near-by
images. A throw-away probe reads traits, expression and direction off still noisier latents: what makes a face is kept
where the noise of early sampling steps leaves it legible.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...models.autoencoder import LATENT_CHANNELS, diffusers_autoencoder
from ...weights_folder import VAE, VAE_FILE
from ...world.look import DIRECTIONS, EXPRESSIONS
from ...world.person import TRAITS
from .pool import Pool, open_scenes
from .scenes import SCENES, signed_pixels
from .tensor_files import write_tensors
from .training import Recipe
from .windows import WINDOW_PX, draw_windows

WINDOWS_A_STEP, ELSEWHERE_A_STEP = 8, 1
LARGEST_NOISE = 0.5  # standard deviation; every window draws its own up to that
PROBE_NOISE, PROBE_WEIGHT = 1.2, 0.03
EDGE_WEIGHT = 0.5
FACE_WEIGHT = 3.0  # of the middle of a window, where the face is
LOG_VARIANCE = -30.0  # of the posterior: what is encoded is exact, for the noise is the sampler's business


class Probe(nn.Module):
    """Reads a person's traits (mean and log-variance of each), expression and direction off a window's latents."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 64, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(64, 96, 3, 2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(96 * 25, 192),
            nn.GELU(),
        )
        self.traits = nn.Linear(192, 2 * len(TRAITS))
        self.expression = nn.Linear(192, len(EXPRESSIONS))
        self.direction = nn.Linear(192, len(DIRECTIONS))

    def loss(self, latents: Tensor, traits: Tensor, expression: Tensor, direction: Tensor) -> Tensor:
        features = self.body(latents)
        mean, spread = self.traits(features).float().chunk(2, dim=1)
        spread = spread.clamp(-6, 2)
        likelihood = 0.5 * ((mean - traits).square() * torch.exp(-spread) + spread).mean()
        answers = cross_entropy(self.expression(features), expression) + cross_entropy(
            self.direction(features), direction
        )
        return likelihood + 0.5 * answers


class InTraining(nn.Module):
    """The VAE, the standardization that `export` folds into it, and the probe."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder = diffusers_autoencoder()
        self.standardize = nn.BatchNorm2d(LATENT_CHANNELS, affine=False, momentum=0.02)
        self.probe = Probe()


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of people, squares from anywhere, and what there is to be read off the former."""

    pool: Pool
    seed: int

    @property
    def seconds(self) -> float:
        return self.pool.seconds

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """Pixels float32 [9, 3, 80, 80] in -1..1; traits, expression and direction of the first eight."""
        rng = np.random.default_rng([self.seed, step])
        drawn = draw_windows(self.pool, rng, WINDOWS_A_STEP)
        elsewhere = np.stack([self._square(rng) for _ in range(ELSEWHERE_A_STEP)])
        return (
            signed_pixels(np.concatenate([drawn.pixels, elsewhere])),
            torch.from_numpy(drawn.faces["traits"].copy()),
            torch.from_numpy(drawn.faces["expression"].astype(np.int64)),
            torch.from_numpy(drawn.faces["direction"].astype(np.int64)),
        )

    def _square(self, rng: np.random.Generator) -> np.ndarray:
        image = self.pool.pixels[rng.integers(len(self.pool.pixels))]
        top, left = rng.integers(0, image.shape[0] - WINDOW_PX + 1, 2)
        return image[top : top + WINDOW_PX, left : left + WINDOW_PX]


def coding_loss(module: InTraining, batch: tuple[Tensor, ...]) -> Tensor:
    """Difference of the images after noise, and the probe's misreadings."""
    pixels, traits, expression, direction = batch
    autoencoder = module.autoencoder
    latents = module.standardize(autoencoder.encode(pixels).latent_dist.mean)
    decoded = autoencoder.decode(_noised(latents, LARGEST_NOISE)).sample
    read = module.probe.loss(_noised(latents[: len(traits)], PROBE_NOISE), traits, expression, direction)
    return image_difference(decoded.float(), pixels, face_weight(pixels)) + PROBE_WEIGHT * read


def image_difference(decoded: Tensor, pixels: Tensor, weight: Tensor) -> Tensor:
    """Of values and of their slopes, for much of a drawn face is thin lines: brows, lids, lips.

    weight  [B or 1, 1, H, W]
    """
    apart = decoded - pixels
    values = (weight * (apart.abs() + apart.square())).mean()
    down = (weight[..., 1:, :] * apart.diff(dim=-2).abs()).mean()
    across = (weight[..., :, 1:] * apart.diff(dim=-1).abs()).mean()
    return (values + EDGE_WEIGHT * (down + across)) / weight.mean()


def face_weight(windows: Tensor) -> Tensor:
    """FACE_WEIGHT in the middle of windows [B, 3, 80, 80], 1 at their rims; [1, 1, 80, 80]."""
    weight = torch.ones(1, 1, *windows.shape[-2:], device=windows.device)
    weight[..., 16:72, 14:66] = FACE_WEIGHT
    return weight


def _noised(latents: Tensor, most: float) -> Tensor:
    spread = most * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    return latents + spread * torch.randn_like(latents)


@torch.no_grad()
def fold_standardization(module: InTraining) -> AutoencoderKL:
    """The VAE whose encoder gives standardized latents by itself: exact, for its last layer is linear."""
    autoencoder, norm = module.autoencoder, module.standardize
    gain = (norm.running_var + norm.eps).rsqrt()
    out = autoencoder.encoder.conv_out
    channels = LATENT_CHANNELS
    out.weight[:channels] *= gain[:, None, None, None]
    out.bias[:channels] = (out.bias[:channels] - norm.running_mean) * gain
    out.weight[channels:] = 0
    out.bias[channels:] = LOG_VARIANCE
    return autoencoder


def export(module: InTraining, folder: Path) -> tuple[Path, ...]:
    """Writes a folder in diffusers' form; ComfyUI reads its weights too."""
    return save(fold_standardization(module), folder)


def save(autoencoder: AutoencoderKL, folder: Path) -> tuple[Path, ...]:
    """Writes the folder of the VAE in float16, without the place that it was read from."""
    autoencoder.register_to_config(_name_or_path="")
    autoencoder.half().save_config(folder / VAE)
    write_tensors(folder / VAE_FILE, autoencoder.state_dict(), {"format": "pt"})
    return folder / VAE_FILE, folder / VAE / autoencoder.config_name


def _batches(scratch: Path, seed: int) -> Windows:
    return Windows(open_scenes(scratch, 0, SCENES), seed)


RECIPE = Recipe(
    name="autoencoder",
    steps=1_300,
    learning_rate=1.5e-3,
    build=InTraining,
    batches=_batches,
    loss=coding_loss,
    export=export,
    average=0.995,
)
