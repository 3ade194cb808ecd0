"""What is wrong with a face, from its size, sharpness, pose and vector."""

from typing import Literal

import cv2
import numpy as np

from withanyone_core.faces.alignment import TEMPLATE_PX, similarity

Pose = Literal["front", "partial_profile", "profile"]

SMALL_PX = 100.0  # shorter side of a face's box in a photo for 512 pixels, as the released program asks
SMALL_AT_PX = 512
# Eye distance in the upright crop over the template's, where a head turns from the camera (released program).
FRONT_FROM, PARTIAL_FROM = 0.78, 0.39
BLURRED_UNDER = 40.0  # variance of the Laplacian of the upright 112-pixel crop
FAINT_UNDER = 0.6  # of the median length: covered and unrecognisable faces give short vectors
TEMPLATE_EYES_PX = float(np.linalg.norm(TEMPLATE_PX[1] - TEMPLATE_PX[0]))


def eye_ratio(landmarks_px: np.ndarray) -> float:
    """Distance of the eyes after the similarity fit to ArcFace's template, over the template's: 1 from the front."""
    scale = float(np.linalg.norm(similarity(landmarks_px)[:, 0]))
    return scale * float(np.linalg.norm(landmarks_px[1] - landmarks_px[0])) / TEMPLATE_EYES_PX


def pose(landmarks_px: np.ndarray) -> Pose:
    """How far a head is turned, from five landmarks [5, 2]."""
    ratio = eye_ratio(np.asarray(landmarks_px, np.float64))
    return "front" if ratio >= FRONT_FROM else "partial_profile" if ratio >= PARTIAL_FROM else "profile"


def is_small(box_px: tuple[float, float, float, float], size_px: int = SMALL_AT_PX) -> bool:
    """Whether a face has too few pixels for pictures of `size_px` (100 at 512)."""
    x1, y1, x2, y2 = box_px
    return min(x2 - x1, y2 - y1) < SMALL_PX * size_px / SMALL_AT_PX


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
    length         of its raw recogniser vector
    size_px        the smallest training size
    median_length  of the vectors of all faces
    """
    turned = pose(landmarks_px)
    wrong = {
        "small": is_small(box_px, size_px),
        "blurred": sharp < BLURRED_UNDER,
        "faint": length < FAINT_UNDER * median_length,
        turned: turned != "front",
    }
    return tuple(word for word, is_wrong in wrong.items() if is_wrong)
