"""The recogniser of the face pack: ArcFace on rendered people.

ArcFace learns a direction for each person of its training set. Here a person is a point in the space of traits, so the
directions are learnt as a function of that point: pictures of one person teach something about all who are like them,
and a tenth of the steps will do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, mse_loss, normalize

from withanyone_core.faces.alignment import ARCFACE

from ..models.onnx_files import write_onnx
from ..models.recogniser import SIDE_PX, VECTOR, IResNet
from ..world.person import TRAITS, person_of
from .pool import Plan, Pool, open_pool
from .training import Batch, Recipe
from .upright import UprightFaces, unit_levels

FILE = "faces/recogniser.onnx"
PEOPLE = 8_000
PLANS = (
    Plan(seed=101, pictures=12_000, size_px=160, first=0, people=PEOPLE),
    Plan(seed=102, pictures=4_000, size_px=256, first=0, people=PEOPLE, portraits=0.6),
)
BATCH = 128
SCALE, MARGIN = 32.0, 0.35  # ArcFace's s and m; with 8,000 classes smaller ones than its paper's for 85,000
EASY_STEPS = 400  # over which the margin grows: from the start it would keep a small net from learning anything
TRAITS_SHARE = 4.0


class People(nn.Module):
    """The direction of each person, [people, vector], from their traits [people, T]."""

    def __init__(self, traits: Tensor, vector: int) -> None:
        super().__init__()
        self.register_buffer("traits", traits)
        self.direct = nn.Linear(traits.shape[1], vector)
        self.bent = nn.Sequential(nn.Linear(traits.shape[1], 256), nn.GELU(), nn.Linear(256, vector))

    def forward(self) -> Tensor:
        return self.direct(self.traits) + self.bent(self.traits)


class InTraining(nn.Module):
    """The recogniser, the people it is trained against, and a reader of traits."""

    def __init__(self, first: int = 0, people: int = PEOPLE) -> None:
        super().__init__()
        self.net = IResNet()
        self.people = People(traits_of(first, people), VECTOR)
        self.traits = nn.Linear(VECTOR, len(TRAITS))


def traits_of(first: int, people: int) -> Tensor:
    """float32 [people, T] of consecutive people."""
    return torch.from_numpy(np.stack([person_of(first + number).traits for number in range(people)]))


def angular_margin(vectors_BD: Tensor, table_PD: Tensor, people_B: Tensor, margin: Tensor) -> Tensor:
    """ArcFace's loss (Deng et al. 2019, equation 3) with `margin` in radians."""
    cosines = linear(normalize(vectors_BD), normalize(table_PD)).float().clamp(-1 + 1e-6, 1 - 1e-6)
    own = cosines.gather(1, people_B[:, None])
    # Past pi the cosine would rise again; no face is that far from its own person for long.
    further = torch.cos((own.acos() + margin).clamp(max=torch.pi))
    return cross_entropy(SCALE * cosines.scatter(1, people_B[:, None], further), people_B)


@dataclass(frozen=True, eq=False)
class RecogniserBatches:
    """Crops float32 [B, 3, 112, 112], people [B], traits [B, T] and the margin."""

    faces: UprightFaces
    first: int

    @property
    def seconds(self) -> float:
        return self.faces.seconds

    def __call__(self, step: int) -> Batch:
        crops, records = self.faces.draw(step)
        people = torch.from_numpy(records["person"].astype(np.int64) - self.first)
        margin = torch.tensor(MARGIN * min(step / EASY_STEPS, 1.0))
        return unit_levels(crops), people, torch.from_numpy(records["traits"].copy()), margin


def batches_of(pools: tuple[Pool, ...], seed: int, batch: int = BATCH) -> RecogniserBatches:
    faces = UprightFaces(pools, ARCFACE, SIDE_PX, batch, seed, carelessness=0.03, wear=0.8)
    return RecogniserBatches(faces, pools[0].plan.first)


def recogniser_loss(module: nn.Module, batch: Batch) -> Tensor:
    crops, people, traits, margin = batch
    vectors = module.net(crops.to(memory_format=torch.channels_last)).float()
    told_apart = angular_margin(vectors, module.people(), people, margin)
    return told_apart + TRAITS_SHARE * mse_loss(module.traits(vectors).float(), traits)


def _batches(scratch: Path, seed: int) -> RecogniserBatches:
    return batches_of(tuple(open_pool(scratch, plan) for plan in PLANS), seed)


def _export(module: nn.Module, folder: Path) -> tuple[Path, ...]:
    return (write_onnx(module.net, torch.zeros(1, 3, SIDE_PX, SIDE_PX), folder / FILE),)


RECIPE = Recipe(
    name="recogniser",
    steps=2_000,
    learning_rate=2e-3,
    build=InTraining,
    batches=_batches,
    loss=recogniser_loss,
    export=_export,
    weight_decay=0.05,
)
