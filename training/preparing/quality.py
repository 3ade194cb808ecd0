"""What is wrong with a face, from its size, sharpness, pose and embedding."""

from typing import Literal

import cv2
import numpy as np

from withanyone_core.tolerance import SLACK, SLACK_PX

Pose = Literal["front", "partial_profile", "profile"]

SMALL_PX = 100.0  # shorter side of a face's box in a photo for 512 pixels, as the released program asks
SMALL_AT_PX = 512
# Of `eye_ratio`, above which a head faces the camera, and faces it in part (released program).
FRONT_ABOVE, PARTIAL_ABOVE = 0.78, 0.39
RATIO_SLACK = 1e-5  # what float32 landmarks far from the corner of a photo leave sure
BLURRED_UNDER = 40.0  # variance of the Laplacian of the upright 112-pixel crop
FAINT_UNDER = 0.6  # of the median length: covered and unrecognizable faces give short embeddings


def eye_ratio(landmarks_px: np.ndarray) -> float:
    """Horizontal distance of the eyes over the horizontal extent of all five landmarks [5, 2] (released program).

    1 where nothing lies further out than the eyes; 0 from the side, and where all five lie above each other.
    """
    across = np.asarray(landmarks_px, np.float64)[:, 0]
    extent = float(np.ptp(across))
    return float(abs(across[1] - across[0])) / extent if extent > 0 else 0.0


def pose(landmarks_px: np.ndarray) -> Pose:
    """How far a head is turned, from five landmarks [5, 2]."""
    ratio = eye_ratio(landmarks_px) - RATIO_SLACK
    return "front" if ratio > FRONT_ABOVE else "partial_profile" if ratio > PARTIAL_ABOVE else "profile"


def is_small(box_px: tuple[float, float, float, float], size_px: int = SMALL_AT_PX) -> bool:
    """Whether a face has too few pixels for images of `size_px` (100 at 512)."""
    x1, y1, x2, y2 = box_px
    return min(x2 - x1, y2 - y1) < SMALL_PX * size_px / SMALL_AT_PX - SLACK_PX


def sharpness(aligned: np.ndarray) -> float:
    """Variance of the Laplacian of an upright face [112, 112, 3] uint8 RGB; blurred ones have little."""
    grey = cv2.cvtColor(np.ascontiguousarray(aligned), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def flags(
    box_px: tuple[float, float, float, float],
    landmarks_px: np.ndarray,
    sharp: float,
    length: float,
    size_px: int,
    median_length: float,
) -> tuple[str, ...]:
    """Single words for what is wrong with a face, nothing for a good one.

    sharp          of `sharpness`
    length         of its raw recognizer embedding
    size_px        the smallest training size
    median_length  of the embeddings of all faces
    """
    turned = pose(landmarks_px)
    wrong = {
        "small": is_small(box_px, size_px),
        "blurred": sharp < BLURRED_UNDER - SLACK,
        "faint": length < FAINT_UNDER * median_length * (1 - SLACK),
        turned: turned != "front",
    }
    return tuple(word for word, is_wrong in wrong.items() if is_wrong)
