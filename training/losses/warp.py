"""Upright face crops of generated images, differentiable in the pixels.

The crop is the one ArcFace knows: a similarity (scale, rotation, shift) fitted to five landmarks, bilinear, black
outside, every pixel where OpenCV's warpAffine puts it. Letters in tensor names: B images, F faces, H and W pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from withanyone_core.faces.alignment import SIDE_PX, are_spread, similarity
from withanyone_core.tolerance import SLACK_PX

# Above this many image pixels to a crop pixel bilinear sampling would skip some.
_DENSEST = 2.0


def align_faces(images_B3HW: Tensor, image_F: Tensor, landmarks_px_F52: np.ndarray | Tensor) -> Tensor:
    """Crops [F, 3, 112, 112] of the faces, float32 in the images' own range.

    image_F         int64 [F], which image a face is in
    landmarks_px_F52  left eye, right eye, nose, left and right mouth corner as seen in the image, in its pixels

    Raises ValueError for landmarks that are not finite or all in one point.
    """
    images = images_B3HW.float()
    landmarks = np.asarray(torch.as_tensor(landmarks_px_F52).cpu(), dtype=np.float64)
    if len(landmarks) == 0:
        return images.new_zeros(0, 3, SIDE_PX, SIDE_PX)
    backwards = np.stack([_crop_to_image(each) for each in landmarks])
    # Source pixels a crop pixel: the length of a crop step in the image.
    steps = np.hypot(backwards[:, 0, 0], backwards[:, 1, 0])
    # Reduced by the whole part; what is left, under 1.5 image pixels a crop pixel, is bilinear sampling's.
    factors = np.where(steps > _DENSEST + SLACK_PX, np.floor(steps + SLACK_PX), 1).astype(int)
    crops: dict[int, Tensor] = {}
    # By factor, so that all faces of one are reduced and sampled together.
    for factor in np.unique(factors):
        chosen = np.flatnonzero(factors == factor)
        sources = _reduced(images[image_F[torch.from_numpy(chosen).to(image_F.device)]], int(factor))
        for face, crop in zip(chosen, _sampled(sources, backwards[chosen], int(factor)), strict=True):
            crops[int(face)] = crop
    return torch.stack([crops[face] for face in range(len(landmarks))])


def clamped(pixels: Tensor) -> Tensor:
    """Values cut to 0..255, gradients let through everywhere."""
    return pixels + (pixels.clamp(0, 255) - pixels).detach()


def _crop_to_image(landmarks_px: np.ndarray) -> np.ndarray:
    """Where a crop pixel lies in the image, [2, 3]."""
    if not are_spread(landmarks_px):
        raise ValueError(
            f"The landmarks {landmarks_px.round(2).tolist()} cannot be aligned: expected five different finite points."
        )
    # The inverse, because sampling asks where each pixel of the crop comes from.
    return np.linalg.inv(np.vstack([similarity(landmarks_px), [0, 0, 1]]))[:2]


def _reduced(images: Tensor, factor: int) -> Tensor:
    """Images averaged over squares of `factor` pixels; black where the last square reaches outside."""
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, -width % factor, 0, -height % factor)), factor)


def _sampled(sources_F3HW: Tensor, backwards_F23: np.ndarray, factor: int) -> Tensor:
    """Bilinear crops; the matrices are meant for images `factor` times as large."""
    height, width = sources_F3HW.shape[-2:]
    # Coordinates stay in float64 until the end: in bf16, as the released program has them, those above 256 move by 2
    # pixels.
    side = torch.arange(SIDE_PX, dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    places = torch.einsum("hwk,fck->fhwc", points, torch.from_numpy(backwards_F23))
    places = (places + 0.5) / factor  # pixel centres, from the top left corner
    # align_corners=False: -1 and 1 are the outer edges of the first and the last pixel.
    grid = 2 * places / torch.tensor([width, height], dtype=torch.float64) - 1
    grid = grid.to(sources_F3HW.device, torch.float32)
    return F.grid_sample(sources_F3HW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
