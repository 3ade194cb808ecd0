"""The recognizer of the face pack: ArcFace on rendered people.

ArcFace learns a direction for each person of its training set. Here a person is a point in the space of traits, so the
directions are learned as a function of that point. Images of one person teach something about all who are like them,
everybody in the images may be somebody new, and a tenth of the steps will do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, mse_loss, normalize

from withanyone_core.faces.alignment import ARCFACE

from ...models.recognizer import EMBEDDING, SIDE_PX, IResNet
from ...world.person import TRAITS
from .onnx_files import write_onnx
from .pool import Pool, Portraits, open_portraits, open_scenes
from .training import Batch, Recipe
from .upright import UprightFaces, unit_pixels

FILE = "faces/recognizer.onnx"
SCENES_END = 8_000  # of the scenes; the judge learns from those that follow
PORTRAITS = Portraits(seed=102, first=300_000, images=1_500, size_px=256)  # sharper than scenes, as photos are
BATCH = 64
OTHERS = 1_024  # people of no image who are to be told from those in the batch
SCALE, MARGIN = 32.0, 0.35  # ArcFace's s and m; smaller than its paper's, which separated 85,000 people at once
EASY_STEPS = 200  # over which the margin grows: from the start it would keep a small net from learning anything
TRAITS_WEIGHT = 4.0


class Direction(nn.Module):
    """The direction of each person, [people, width], by their traits [people, T]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.straight = nn.Linear(len(TRAITS), width)
        self.bent = nn.Sequential(nn.Linear(len(TRAITS), 256), nn.GELU(), nn.Linear(256, width))

    def forward(self, traits_PT: Tensor) -> Tensor:
        return self.straight(traits_PT) + self.bent(traits_PT)


class InTraining(nn.Module):
    """The recognizer, the directions it is trained against, and a reader of traits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = IResNet()
        self.direction = Direction(EMBEDDING)
        self.traits = nn.Linear(EMBEDDING, len(TRAITS))


def angular_margin(embeddings_BD: Tensor, directions_PD: Tensor, margin: Tensor) -> Tensor:
    """ArcFace's loss (Deng et al. 2019, equation 3) with `margin` in radians; the first B of the P people are B's."""
    cosines = linear(normalize(embeddings_BD), normalize(directions_PD)).float().clamp(-1 + 1e-6, 1 - 1e-6)
    people_B1 = torch.arange(len(cosines), device=cosines.device)[:, None]
    # Past pi the cosine would rise again; no face is that far from its own person for long.
    further = torch.cos((cosines.gather(1, people_B1).acos() + margin).clamp(max=torch.pi))
    return cross_entropy(SCALE * cosines.scatter(1, people_B1, further), people_B1[:, 0])


@dataclass(frozen=True, eq=False)
class RecognizerBatches:
    """Crops float32 [B, 3, 112, 112], traits of their people and then of others [P, T], and the margin."""

    faces: UprightFaces

    @property
    def seconds(self) -> float:
        return self.faces.seconds

    def __call__(self, step: int) -> Batch:
        crops, records = self.faces.draw(step)
        margin = torch.tensor(MARGIN * min(step / EASY_STEPS, 1.0))
        return unit_pixels(crops), everybody(records["traits"], self.faces.seed, step), margin


def everybody(traits: np.ndarray, seed: int, step: int) -> Tensor:
    """Traits [B, T] and after them those of OTHERS people who are drawn as all people are."""
    others = np.random.default_rng([seed, step, 1]).uniform(-1, 1, (OTHERS, traits.shape[1]))
    return torch.from_numpy(np.concatenate([traits, others.astype(np.float32)]))


def batches_of(pools: tuple[Pool, ...], seed: int, batch: int = BATCH) -> RecognizerBatches:
    return RecognizerBatches(UprightFaces(pools, ARCFACE, SIDE_PX, batch, seed, carelessness=0.06, wear=0.8))


def open_pools(scratch: Path) -> tuple[Pool, ...]:
    """The scenes and portraits that all face models but the judge learn from."""
    return open_scenes(scratch, 0, SCENES_END), open_portraits(scratch, PORTRAITS)


def recognizer_loss(module: nn.Module, batch: Batch) -> Tensor:
    crops, traits_PT, margin = batch
    embeddings = module.net(crops.to(memory_format=torch.channels_last)).float()
    identified = angular_margin(embeddings, module.direction(traits_PT).float(), margin)
    return identified + TRAITS_WEIGHT * mse_loss(module.traits(embeddings).float(), traits_PT[: len(crops)])


def _batches(scratch: Path, seed: int) -> RecognizerBatches:
    return batches_of(open_pools(scratch), seed)


def _export(module: nn.Module, folder: Path) -> tuple[Path, ...]:
    return (write_onnx(module.net, torch.zeros(1, 3, SIDE_PX, SIDE_PX), folder / FILE),)


RECIPE = Recipe(
    name="recognizer",
    steps=1_000,
    learning_rate=1.5e-3,
    build=InTraining,
    batches=_batches,
    loss=recognizer_loss,
    export=_export,
    weight_decay=0.05,
)
