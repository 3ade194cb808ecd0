"""The detector: scores, boxes and five landmarks on three grids, in the form insightface's SCRFD reads.

Letters: B batch, A anchors of a cell, N numbers of an anchor, H rows, W columns.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

STRIDES = (8, 16, 32)
ANCHORS = 2
# Side in pixels of the face that each anchor of a stride is for; anchors differ in nothing else.
FACES_PX = ((40.0, 64.0), (100.0, 155.0), (240.0, 400.0))
WIDTHS = (16, 24, 48, 72, 96)
SHARED = 48
SCORE, BOX, POINTS = 1, 4, 10
RARE = -4.6  # a face at one anchor in a hundred, before anything is learned


class Found(NamedTuple):
    """What a stride's grid says. Distances are in strides from the cell's corner, as insightface wants them.

    score_BAHW    before the sigmoid
    box_BANHW     left, top, right, bottom
    points_BANHW  x, y of each landmark
    """

    score_BAHW: Tensor
    box_BANHW: Tensor
    points_BANHW: Tensor


def conv(width_in: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


class Spread(nn.Module):
    """A 5 x 5 convolution of each channel and a linear layer over channels, added to what came."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.act(x_BCHW + self.body(x_BCHW))


class Head(nn.Module):
    """Reads a stride's map. Its numbers begin at the mean face of each anchor and are learned in that face's size."""

    def __init__(self, stride: int, faces_px: tuple[float, ...]) -> None:
        super().__init__()
        self.body = nn.Sequential(Spread(SHARED), Spread(SHARED))
        self.predict = nn.Conv2d(SHARED, ANCHORS * (SCORE + BOX + POINTS), 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)
        nn.init.constant_(self.predict.bias.data.view(ANCHORS, -1)[:, 0], RARE)
        sides = torch.tensor(faces_px).view(1, ANCHORS, 1, 1, 1) / stride
        self.register_buffer("sides", sides)

    def forward(self, map_BCHW: Tensor) -> Found:
        numbers_BANHW = self.predict(self.body(map_BCHW)).unflatten(1, (ANCHORS, SCORE + BOX + POINTS))
        score, box, points = numbers_BANHW.split((SCORE, BOX, POINTS), dim=2)
        return Found(score.squeeze(2), (box + 0.5) * self.sides, points * self.sides)


class Detector(nn.Module):
    """Faces of 32 to 600 pixels in RGB images [B, 3, H, W], (value - 127.5) / 128, sides multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        stem, quarter, *wide = WIDTHS
        self.stem = nn.Sequential(conv(3, stem, 2), conv(stem, quarter, 2))
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, width, 2), *(Spread(width) for _ in range(depth)))
            for before, width, depth in zip((quarter, *wide), wide, (1, 2, 3), strict=False)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, SHARED, 1) for width in wide)
        self.heads = nn.ModuleList(Head(stride, faces) for stride, faces in zip(STRIDES, FACES_PX, strict=True))

    def forward(self, x_BCHW: Tensor) -> tuple[Found, ...]:
        maps = [self.stem(x_BCHW)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        merged = [lateral(level) for lateral, level in zip(self.laterals, maps[1:], strict=True)]
        for finer in (1, 0):
            merged[finer] = merged[finer] + interpolate(merged[finer + 1], scale_factor=2.0, mode="nearest")
        return tuple(head(level) for head, level in zip(self.heads, merged, strict=True))


class InsightFaceOutputs(nn.Module):
    """The detector with SCRFD's nine outputs: scores of each stride, then boxes, then landmarks, a line an anchor."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x_1CHW: Tensor) -> tuple[Tensor, ...]:
        found = self.detector(x_1CHW)
        scores = [_lines(level.score_BAHW.sigmoid().unsqueeze(2)) for level in found]
        boxes = [_lines(level.box_BANHW) for level in found]
        points = [_lines(level.points_BANHW) for level in found]
        return (*scores, *boxes, *points)


def _lines(numbers_BANHW: Tensor) -> Tensor:
    """[H * W * A, N]: cells row by row, of each its anchors."""
    return numbers_BANHW.permute(0, 3, 4, 1, 2).reshape(-1, numbers_BANHW.shape[2])
