"""Identity loss, aligned by the ground truth: how far generated faces are from the people they should be.

The landmarks are the target image's, from the cache: nothing is detected on noisy predictions, and a face in the
wrong place is punished too. Letters in tensor names: B images, F faces, E length of a face embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from withanyone_core.tolerance import SLACK

from .warp import align_faces, clamped

MAX_SIGMA = 0.6  # of the released program, above which a one-step estimate shows no face worth judging


@dataclass(frozen=True, eq=False)
class TargetFaces:
    """Where the known faces of a batch are.

    sample_F       int64 [F], ascending: the sample a face belongs to
    landmarks_F52  float [F, 5, 2], fractions of the image's width and height
    """

    sample_F: Tensor
    landmarks_F52: np.ndarray

    def within(self, samples: Tensor) -> "TargetFaces":
        """The faces of some samples (int64, ascending), renumbered from 0."""
        kept = torch.isin(self.sample_F, samples)
        # Both ascend, so a sample's place among those chosen is its new number.
        return TargetFaces(torch.searchsorted(samples, self.sample_F[kept]), self.landmarks_F52[kept.cpu().numpy()])


def samples_to_judge(sigmas_B: Tensor, faces: TargetFaces, max_sigma: float = MAX_SIGMA) -> Tensor:
    """Samples, int64 ascending, whose faces are worth decoding: a sigma of at most `max_sigma`, and a face."""
    with_faces = torch.unique(faces.sample_F)
    # A sigma at the bound is inside, whatever float32 made of it.
    return with_faces[sigmas_B.to(with_faces.device)[with_faces] <= max_sigma + SLACK]


def face_embeddings(pixels_B3HW: Tensor, faces: TargetFaces, recognizer: Callable[[Tensor], Tensor]) -> Tensor:
    """Raw embeddings [F, E] of faces in generated images, with gradients to the pixels.

    pixels_B3HW  RGB, 0 to 255, not clamped
    recognizer   crops [F, 3, 112, 112] RGB, 0 to 255, to embeddings
    """
    height_px, width_px = pixels_B3HW.shape[-2:]
    landmarks_px = faces.landmarks_F52 * np.array([width_px, height_px])
    return recognizer(align_faces(clamped(pixels_B3HW.float()), faces.sample_F, landmarks_px))


def identity_losses(generated_FE: Tensor, target_FE: Tensor) -> Tensor:
    """`1 - cosine` of each face, float32 [F] (paper, eq. 4)."""
    return 1 - F.cosine_similarity(generated_FE.float(), target_FE.float(), dim=-1)
