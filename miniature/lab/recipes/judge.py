"""The judge: other people, images, crop, wear, network and loss than the recognizer's."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from withanyone_core.faces.alignment import TEMPLATE_PX, Template

from ...models.judge import EMBEDDING, SIDE_PX, JudgeNet
from ...world.person import TRAITS
from .onnx_files import write_onnx
from .pool import Portraits, open_portraits, open_scenes
from .recognizer import SCENES_END, everybody, open_pools
from .scenes import SCENES
from .training import Batch, Recipe
from .upright import UprightFaces, unit_pixels

FILE, CARD = "judge.onnx", "judge.json"
PORTRAITS = Portraits(seed=202, first=600_000, images=2_400, size_px=224)
# A wider view than ArcFace's, with more of the hair and the chin in it.
TEMPLATE = Template(0.92 * (TEMPLATE_PX - 56.0) + (64.0, 61.0), SIDE_PX, SIDE_PX)
BATCH = 64
SCALE, MARGIN = 24.0, 0.25
EASY_STEPS = 200


class InTraining(nn.Module):
    """The judge's network and the directions it is trained against."""

    def __init__(self) -> None:
        super().__init__()
        self.net = JudgeNet()
        self.direction = nn.Linear(len(TRAITS), EMBEDDING)


@dataclass(frozen=True, eq=False)
class JudgeBatches:
    """Crops float32 BGR [B, 3, 128, 128], traits of their people and then of others [P, T], and the margin."""

    faces: UprightFaces

    @property
    def seconds(self) -> float:
        return self.faces.seconds

    def __call__(self, step: int) -> Batch:
        crops, records = self.faces.draw(step)
        margin = torch.tensor(MARGIN * min(step / EASY_STEPS, 1.0))
        return unit_pixels(crops, bgr=True), everybody(records["traits"], self.faces.seed, step), margin


def judge_loss(module: nn.Module, batch: Batch) -> Tensor:
    """CosFace (Wang et al. 2018, equation 4): the margin is taken from the cosine, not added to the angle."""
    crops, traits_PT, margin = batch
    embeddings = module.net(crops.to(memory_format=torch.channels_last)).float()
    cosines = linear(normalize(embeddings), normalize(module.direction(traits_PT).float())).float()
    people_B = torch.arange(len(crops), device=crops.device)
    return cross_entropy(SCALE * (cosines - margin * one_hot(people_B, len(traits_PT))), people_B)


def _batches(scratch: Path, seed: int) -> JudgeBatches:
    """From scenes and portraits in which nobody is known to the recognizer."""
    pools = (open_scenes(scratch, SCENES_END, SCENES), open_portraits(scratch, PORTRAITS))
    known = open_pools(scratch)
    strangers = tuple(pool.without_people_of(known) for pool in pools)
    return JudgeBatches(UprightFaces(strangers, TEMPLATE, SIDE_PX, BATCH, seed + 7, carelessness=0.085, wear=1.1))


def _export(module: nn.Module, folder: Path) -> tuple[Path, ...]:
    onnx = write_onnx(module.net, torch.zeros(1, 3, SIDE_PX, SIDE_PX), folder / FILE)
    card = folder / CARD
    card.write_text(json.dumps(_card(), indent=4) + "\n", encoding="utf-8")
    return onnx, card


def _card() -> dict:
    """What `withanyone_core.metrics.judges` reads."""
    return {
        "name": "Miniature judge",
        "onnx": FILE,
        "template": {"points_px": np.round(TEMPLATE.points_px, 4).tolist(), "size_px": [SIDE_PX, SIDE_PX]},
        "size_px": SIDE_PX,
        "colours": "bgr",
        "mean": 127.5,
        "std": 127.5,
        "vector": EMBEDDING,
        "trained_with": False,
        "about": "The recognizer of the miniature world that only judges: no model of this pack is trained with it.",
    }


RECIPE = Recipe(
    name="judge",
    steps=800,
    learning_rate=1.5e-3,
    build=InTraining,
    batches=_batches,
    loss=judge_loss,
    export=_export,
    weight_decay=0.05,
)
