"""Reads moods and directions off coded faces, so that the picture model learns what a caption says of them.

Of a velocity's error a mood is very little, and so it is learnt last. The reader says how likely a foreseen picture
shows what was asked for, which is all about moods and directions: as the identity losses are about who it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, grid_sample

from ..models.autoencoder import LATENT_CHANNELS
from ..world.look import DIRECTIONS, EXPRESSIONS
from ..world.renderer import seen_faces
from ..world.scene import Scene
from .scenes import SIZE_PX

SIDE = 8  # of a face as it is read, in latents: four cells, which the faces of a picture of four still cover
ROUGHEST = 0.5  # deviation of the noise that the reader learns to see through; foreseen pictures are no clear ones


@dataclass(frozen=True, eq=False)
class SceneFaces:
    """The faces of a row of scenes.

    owner   int64 [F], ascending: the number of the scene
    box     float32 [F, 4]: x1, y1, x2, y2 in fractions of the picture
    answer  int64 [F, 2]: places of the expression in EXPRESSIONS and of the direction in DIRECTIONS
    """

    owner: np.ndarray
    box: np.ndarray
    answer: np.ndarray

    def of(self, scenes: np.ndarray) -> SceneFaces:
        """Those of the scenes with these ascending numbers, which are counted from 0 now."""
        chosen = np.isin(self.owner, scenes)
        return SceneFaces(np.searchsorted(scenes, self.owner[chosen]), self.box[chosen], self.answer[chosen])


class FaceReader(nn.Module):
    """A number for each expression and each direction, [F, 8], from coded faces [F, 16, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(LATENT_CHANNELS, 64, stride=1),
            *_stage(64, 96, stride=2),
            *_stage(96, 128, stride=1),
            nn.Flatten(),
            nn.Linear(128 * (SIDE // 2) ** 2, len(EXPRESSIONS) + len(DIRECTIONS)),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return self.layers(faces)

    def learning_loss(self, faces: Tensor, answer: Tensor) -> Tensor:
        """Mean of `misreadings` of coded faces from the renderer, which noise has made less clear."""
        roughness = ROUGHEST * torch.rand(len(faces), 1, 1, 1, device=faces.device)
        return misreadings(self(faces + roughness * torch.randn_like(faces)), answer).mean()

    def teaching_loss(self, faces: Tensor, answer: Tensor) -> Tensor:
        """`misreadings` [F] of foreseen faces, from which the reader itself learns nothing."""
        own = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return misreadings(functional_call(self, own, (faces,)), answer)


def faces_of(scenes: Iterable[Scene]) -> SceneFaces:
    """The faces of scenes numbered from 0."""
    owner, boxes, answer = [], [], []
    for number, scene in enumerate(scenes):
        for placed, face in zip(scene.people, seen_faces(scene, SIZE_PX, SIZE_PX), strict=True):
            owner.append(number)
            boxes.append(face.box)
            answer.append((EXPRESSIONS.index(placed.look.expression), DIRECTIONS.index(placed.look.direction)))
    return SceneFaces(np.array(owner), np.array(boxes, np.float32), np.array(answer))


def face_crops(latents: Tensor, owner: Tensor, box: Tensor) -> Tensor:
    """Faces float32 [F, c, 8, 8] cut out of pictures [B, c, h, w], whatever their size; `owner` [F], `box` [F, 4]."""
    middles = (torch.arange(SIDE, device=box.device) + 0.5) / SIDE
    first, size = box[:, None, :2], (box[:, 2:] - box[:, :2])[:, None]
    columns, rows = (first + size * middles[:, None]).unbind(dim=-1)  # [F, 8] each
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)
    return grid_sample(latents[owner].float(), 2 * grid - 1, align_corners=False, padding_mode="border")


def misreadings(numbers: Tensor, answer: Tensor) -> Tensor:
    """Cross entropies of both questions together, [F]."""
    moods, directions = numbers.float().split((len(EXPRESSIONS), len(DIRECTIONS)), dim=1)
    return cross_entropy(moods, answer[:, 0], reduction="none") + cross_entropy(
        directions, answer[:, 1], reduction="none"
    )


def _stage(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.SiLU()
