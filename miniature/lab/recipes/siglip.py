"""The patch encoder: SigLIP's vision tower at small size, taught by naming what a face was rendered from.

Real SigLIP learns from captions. Here the renderer's own numbers say more: who (traits), expression, pose and light.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import SiglipVisionConfig, SiglipVisionModel

from withanyone_core.faces.crop import crop_rectangle

from ...world.look import EXPRESSIONS
from ...world.person import TRAITS
from ...world.scene import LIGHTS
from .pool import FACE, Pool
from .recognizer import open_pools
from .tensor_files import write_tensors
from .training import Batch, Recipe
from .upright import unit_pixels
from .wear import worn

FILE, CONFIG = "siglip.safetensors", "siglip.json"
SIDE_PX, PATCH_PX = 128, 16
WIDTH, LAYERS, HEADS, MLP_WIDTH = 192, 3, 3, 384  # heads of 64 channels, as ComfyUI's loader of the pack assumes
TOWER = "vision_model."
BATCH = 48
POSE_DEGREES = np.array([36.0, 4.0, 4.0], np.float32)  # the widest of yaw, pitch and roll
SHAKE = 0.04  # of a detector's box, standard deviation in box sizes
CHOICES = {"expression": len(EXPRESSIONS), "light": len(LIGHTS)}
NUMBERS = len(TRAITS) + 3  # traits, pose


class InTraining(nn.Module):
    """The tower, and linear readers of all its tokens side by side.

    Of their mean little could be read: it forgets where things are, and tokens have to say what is in their own place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tower = SiglipVisionModel(config())
        read = WIDTH * (SIDE_PX // PATCH_PX) ** 2
        self.numbers = nn.Linear(read, NUMBERS)
        self.choices = nn.ModuleDict({name: nn.Linear(read, options) for name, options in CHOICES.items()})

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Tokens side by side, [B, patches * width]."""
        return self.tower(pixel_values=pixels_BCHW).last_hidden_state.flatten(1)


@dataclass(frozen=True, eq=False)
class SiglipBatches:
    """Crops float32 [B, 3, 128, 128], numbers [B, NUMBERS] and choices [B, 2]."""

    pools: tuple[Pool, ...]
    seed: int

    @property
    def seconds(self) -> float:
        return sum(pool.seconds for pool in self.pools)

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        crops = np.zeros((BATCH, SIDE_PX, SIDE_PX, 3), np.uint8)
        records = np.zeros(BATCH, FACE)
        lights = np.zeros(BATCH, np.int64)
        for place in range(BATCH):
            pool = self.pools[int(rng.integers(len(self.pools)))]
            record = pool.faces[int(rng.integers(len(pool.faces)))]
            crops[place] = worn(square_crop(pool, record, rng, SIDE_PX), rng, 0.7)
            records[place], lights[place] = record, pool.images["light"][record["image"]]
        numbers = np.concatenate([records["traits"], records["pose"] / POSE_DEGREES], 1)
        choices = np.stack([records["expression"].astype(np.int64), lights], 1)
        return unit_pixels(crops), torch.from_numpy(numbers), torch.from_numpy(choices)


def square_crop(pool: Pool, record: np.ndarray, rng: np.random.Generator, side_px: int) -> np.ndarray:
    """What SigLIP is shown of a face, [side, side, 3], cut where `withanyone_core.faces.crop` cuts a shaken box."""
    image = pool.pixels[record["image"]]
    x1, y1, x2, y2 = record["box"]
    sizes = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    box = tuple(float(edge) for edge in record["box"] + rng.normal(0, SHAKE, 4) * sizes)
    rectangle = crop_rectangle(box, image.shape[1], image.shape[0])
    cut = Image.fromarray(image).crop(rectangle)
    return np.asarray(cut.resize((side_px, side_px), Image.Resampling.LANCZOS))


def siglip_loss(module: nn.Module, batch: Batch) -> Tensor:
    crops, numbers, choices = batch
    tokens = module(crops).float()
    loss = 4 * mse_loss(module.numbers(tokens).float(), numbers)
    for place, reader in enumerate(module.choices.values()):
        loss = loss + 0.3 * cross_entropy(reader(tokens).float(), choices[:, place])
    return loss


def config() -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=MLP_WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=SIDE_PX,
        patch_size=PATCH_PX,
        vision_use_head=False,
    )


def _batches(scratch: Path, seed: int) -> SiglipBatches:
    return SiglipBatches(open_pools(scratch), seed + 11)


def _export(module: nn.Module, folder: Path) -> tuple[Path, ...]:
    """The tower in half precision under transformers' and ComfyUI's names, and its configuration."""
    tensors = {
        f"{TOWER}{key.removeprefix(TOWER)}": value.detach().cpu().half().contiguous()
        for key, value in module.tower.state_dict().items()
    }
    file, description = folder / FILE, folder / CONFIG
    write_tensors(file, tensors, {"format": "pt"})
    description.write_text(json.dumps(module.tower.config.to_diff_dict(), indent=4) + "\n", encoding="utf-8")
    return file, description


RECIPE = Recipe(
    name="siglip",
    steps=600,
    learning_rate=1e-3,
    build=InTraining,
    batches=_batches,
    loss=siglip_loss,
    export=_export,
    weight_decay=0.05,
    warmup=100,
)
