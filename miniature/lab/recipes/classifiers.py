"""The classifiers that measure images: on worn ones as well, for they are to judge what a small model generates."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...models.classifiers import FACE_PX, IMAGE_PX, Classifiers, file_key
from .pool import FACE, IMAGE, Pool, open_scenes
from .scenes import SCENES
from .siglip import square_crop
from .tensor_files import write_tensors
from .training import Batch, Recipe
from .upright import unit_pixels
from .wear import worn

FILE = "classifiers.safetensors"
FACES, IMAGES = 64, 24  # a batch


@dataclass(frozen=True, eq=False)
class ClassifierBatches:
    """Face crops float32 [B, 3, 64, 64] with answers [B, questions], images [b, 3, 96, 96] with answers.

    Only images as large as those that are generated: sharper ones would be learned in vain.
    """

    pool: Pool
    seed: int

    @property
    def seconds(self) -> float:
        return self.pool.seconds

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        crops, faces = np.zeros((FACES, FACE_PX, FACE_PX, 3), np.uint8), np.zeros(FACES, FACE)
        lights = np.zeros(FACES, np.int64)
        for place in range(FACES):
            record = self.pool.faces[int(rng.integers(len(self.pool.faces)))]
            crops[place] = worn(square_crop(self.pool, record, rng, FACE_PX), rng, 1.4)
            faces[place], lights[place] = record, self.pool.images["light"][record["image"]]
        wholes, shown = np.zeros((IMAGES, IMAGE_PX, IMAGE_PX, 3), np.uint8), np.zeros(IMAGES, IMAGE)
        for place, number in enumerate(rng.integers(len(self.pool.pixels), size=IMAGES)):
            wholes[place] = cv2.resize(
                worn(self.pool.pixels[number], rng, 1.4), (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_AREA
            )
            shown[place] = self.pool.images[number]
        face_answers = np.stack([faces["expression"], faces["direction"], lights], 1)
        image_answers = np.stack([shown["count"] - 1, shown["place"], shown["light"]], 1)
        return (
            unit_pixels(crops),
            torch.from_numpy(face_answers.astype(np.int64)),
            unit_pixels(wholes),
            torch.from_numpy(image_answers.astype(np.int64)),
        )


def classifiers_loss(module: nn.Module, batch: Batch) -> Tensor:
    crops, face_answers, wholes, image_answers = batch
    return _loss(module.face(crops), face_answers) + _loss(module.image(wholes), image_answers)


def _loss(logits: dict[str, Tensor], answers: Tensor) -> Tensor:
    losses = [cross_entropy(each.float(), answers[:, place]) for place, each in enumerate(logits.values())]
    return torch.stack(losses).sum()


def _batches(scratch: Path, seed: int) -> ClassifierBatches:
    return ClassifierBatches(open_scenes(scratch, 0, SCENES), seed + 13)


def _export(module: nn.Module, folder: Path) -> tuple[Path, ...]:
    path = folder / FILE
    tensors = {file_key(key): value.detach().cpu() for key, value in module.state_dict().items()}
    write_tensors(path, {key: value.half() if value.ndim > 1 else value for key, value in tensors.items()})
    return (path,)


RECIPE = Recipe(
    name="classifiers",
    steps=800,
    learning_rate=2e-3,
    build=Classifiers,
    batches=_batches,
    loss=classifiers_loss,
    export=_export,
)
