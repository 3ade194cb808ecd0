"""The face detector of the face pack: SCRFD's outputs, faces of 40 to 550 pixels in images of 160 to 640.

Letters: B batch, A anchors, N numbers, F faces, H rows, W columns.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from ...models.detector import FACES_PX, STRIDES, Detector, Found, InsightFaceOutputs
from .onnx_files import write_onnx
from .pool import Pool
from .recognizer import open_pools
from .training import Batch, Recipe
from .wear import worn

FILE = "faces/detector.onnx"
# Side and number of a step's images, about the same work each; LoadFaceAnalysis enlarges to 640 by itself.
SIZES = ((160, 24), (224, 16), (320, 8), (320, 8), (448, 4), (640, 2), (640, 2))
MOST_FACES = 4
MEAN, STD = 127.5, 128.0  # insightface's for detectors
MIRRORED = [1, 0, 2, 4, 3]  # landmarks of a mirrored face
CORE, RIM = 0.16, 0.28  # of a face's size: cells nearer its middle must find it, those up to the rim may
OWN, NEAR = 1.45, 1.7  # between a face's size and its anchor's, a factor: within OWN must find it, within NEAR may.
# What may is not corrected, so NEAR must be near: far off, it finds boxes inside of large faces.
FOCUS, POSITIVES = 2.0, 0.75  # focal loss's gamma and alpha
BOX_WEIGHT, POINTS_WEIGHT = 3.0, 12.0
BLANK_FRACTION = 0.06  # of images whose faces are covered, so that places alone are no faces


@dataclass(frozen=True, eq=False)
class DetectorBatches:
    """Images float32 [B, 3, S, S] and faces [B, F, 14]: box and landmarks in pixels, NaN where none is."""

    pools: tuple[Pool, ...]
    seed: int

    @property
    def seconds(self) -> float:
        return sum(pool.seconds for pool in self.pools)

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        side, batch = SIZES[int(rng.integers(len(SIZES)))]
        images = np.zeros((batch, side, side, 3), np.uint8)
        faces = np.full((batch, MOST_FACES, 14), np.nan, np.float32)
        for place in range(batch):
            pool = self.pools[int(rng.integers(len(self.pools)))]
            number = int(rng.integers(len(pool.pixels)))
            first, last = np.searchsorted(pool.faces["image"], [number, number + 1])
            image, lines = _placed(pool.pixels[number], pool.faces[first:last], side, rng)
            images[place], faces[place, : len(lines)] = image, lines
        levels = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(MEAN).div_(STD)
        return levels, torch.from_numpy(faces)


def _placed(
    image: np.ndarray, records: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A worn image turned, scaled, mirrored and moved on a square canvas, and its faces as lines of 14 numbers."""
    image = worn(image, rng)
    if rng.random() < BLANK_FRACTION:
        image, records = _without_faces(image, records, rng), records[:0]
    matrix = _movement(image.shape[0], side, rng)
    filling = tuple(int(level) for level in rng.integers(0, 256, 3)) if rng.random() < 0.5 else (0, 0, 0)
    canvas = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=filling)
    lines = np.array([_line(record, matrix) for record in records], np.float32).reshape(-1, 14)
    middles = (lines[:, :2] + lines[:, 2:4]) / 2
    inside = ((middles > 0) & (middles < side)).all(1)
    return canvas, lines[inside]


def _movement(from_side: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """The affine map [2, 3]: mostly the whole image as insightface fits it, else something near that."""
    scale = side / from_side
    if rng.random() < 0.3:
        return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    scale *= np.exp(rng.uniform(np.log(0.6), np.log(1.3)))
    matrix = cv2.getRotationMatrix2D((from_side / 2, from_side / 2), rng.uniform(-12, 12), scale)
    if rng.random() < 0.5:
        matrix = matrix @ np.array([[-1.0, 0, from_side - 1], [0, 1, 0], [0, 0, 1]])
    spare = side - scale * from_side
    matrix[:, 2] += side / 2 - from_side / 2 + rng.uniform(-0.5, 0.5, 2) * abs(spare)
    return matrix


def _line(record: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Box and landmarks after the map; the box is the moved ellipse's, since a box's corners hold no face."""
    x1, y1, x2, y2 = record["box"]
    middle = matrix @ ((x1 + x2) / 2, (y1 + y2) / 2, 1.0)
    half = np.sqrt((matrix[:, :2] ** 2) @ (np.array([x2 - x1, y2 - y1]) / 2) ** 2)
    points = record["landmarks"] @ matrix[:, :2].T + matrix[:, 2]
    if np.linalg.det(matrix[:, :2]) < 0:
        points = points[MIRRORED]
    return np.concatenate([middle - half, middle + half, points.reshape(-1)])


def _without_faces(image: np.ndarray, records: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    covered = image.copy()
    for x1, y1, x2, y2 in records["box"].astype(int):
        color = tuple(int(level) for level in rng.integers(0, 256, 3))
        cv2.rectangle(covered, (x1 - 4, y1 - 4), (x2 + 4, y2 + 4), color, cv2.FILLED)
    return covered


def detector_loss(module: nn.Module, batch: Batch) -> Tensor:
    images, faces = batch
    found = module(images.to(memory_format=torch.channels_last))
    levels = [
        _stride_loss(level, faces, stride, sides) for level, stride, sides in zip(found, STRIDES, FACES_PX, strict=True)
    ]
    score, box, points, positives = (torch.stack(parts).sum() for parts in zip(*levels, strict=True))
    return (score + BOX_WEIGHT * box + POINTS_WEIGHT * points) / positives.clamp(min=1.0)


def _stride_loss(
    found: Found, faces_BFN: Tensor, stride: int, sides: tuple[float, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over one grid: the scores' focal loss, the boxes' and the landmarks' error, and the number of positives."""
    score_BAHW = found.score_BAHW.float()
    face_BAHW, must_BAHW, may_BAHW = _assigned(score_BAHW.shape, faces_BFN, stride, sides)
    label = must_BAHW.float()
    wrongness = (score_BAHW.sigmoid() - label).abs()
    weight = torch.where(must_BAHW, POSITIVES, 1 - POSITIVES) * wrongness**FOCUS * (must_BAHW | ~may_BAHW)
    score = (weight * binary_cross_entropy_with_logits(score_BAHW, label, reduction="none")).sum()
    b, a, y, x = must_BAHW.nonzero(as_tuple=True)
    target_PN = faces_BFN[b, face_BAHW[b, a, y, x]]
    corner_P2 = torch.stack([x, y], 1) * stride
    box_P4 = torch.cat([corner_P2 - target_PN[:, :2], target_PN[:, 2:4] - corner_P2], 1)
    points_PN = target_PN[:, 4:] - corner_P2.repeat(1, 5)
    # Errors are in sizes of the face, so that a near face weighs no more than a far one.
    size_P1 = _size(target_PN)[:, None]
    box = _error(found.box_BANHW[b, a, :, y, x].float() * stride / size_P1, box_P4 / size_P1)
    points = _error(found.points_BANHW[b, a, :, y, x].float() * stride / size_P1, points_PN / size_P1)
    return score, box, points, must_BAHW.sum().float()


def _assigned(
    shape: torch.Size, faces_BFN: Tensor, stride: int, sides: tuple[float, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """For each anchor the nearest face, whether it must find it, and whether it may; [B, A, H, W] each."""
    *_, height, width = shape
    device = faces_BFN.device
    x_W, y_H = torch.arange(width, device=device) * stride, torch.arange(height, device=device) * stride
    size_BF = _size(faces_BFN)
    middle_BF2 = (faces_BFN[..., :2] + faces_BFN[..., 2:4]) / 2
    off_x = (x_W[None, None, None, :] - middle_BF2[..., 0, None, None]).abs()
    off_y = (y_H[None, None, :, None] - middle_BF2[..., 1, None, None]).abs()
    off_BFHW = torch.maximum(off_x, off_y).nan_to_num(torch.inf)
    factor_BFA = (size_BF[..., None] / torch.tensor(sides, device=device)).log().abs().exp().nan_to_num(torch.inf)
    reach_BFHW = torch.maximum(CORE * size_BF, torch.tensor(0.5 * stride, device=device))[..., None, None]
    core_BFAHW = (off_BFHW <= reach_BFHW)[:, :, None] & (factor_BFA < OWN)[..., None, None]
    rim_BFHW = off_BFHW <= torch.maximum(RIM * size_BF[..., None, None], reach_BFHW)
    rim_BFAHW = rim_BFHW[:, :, None] & (factor_BFA < NEAR)[..., None, None]
    nearest_BAHW = torch.where(core_BFAHW, off_BFHW[:, :, None], torch.inf).argmin(1)
    return nearest_BAHW, core_BFAHW.any(1), rim_BFAHW.any(1)


def _size(faces_N: Tensor) -> Tensor:
    return ((faces_N[..., 2] - faces_N[..., 0]) * (faces_N[..., 3] - faces_N[..., 1])).sqrt()


def _error(found_PN: Tensor, target_PN: Tensor) -> Tensor:
    return smooth_l1_loss(found_PN, target_PN, beta=0.03, reduction="none").mean(1).sum()


def _batches(scratch: Path, seed: int) -> DetectorBatches:
    return DetectorBatches(open_pools(scratch), seed + 17)


def _export(module: nn.Module, folder: Path) -> tuple[Path, ...]:
    outputs = [f"{kind}_{stride}" for kind in ("score", "box", "points") for stride in STRIDES]
    graph = InsightFaceOutputs(module)
    example = torch.zeros(1, 3, 320, 320)
    return (write_onnx(graph, example, folder / FILE, outputs, {2: "height", 3: "width"}),)


RECIPE = Recipe(
    name="detector",
    steps=2_000,
    learning_rate=2e-3,
    build=Detector,
    batches=_batches,
    loss=detector_loss,
    export=_export,
)
