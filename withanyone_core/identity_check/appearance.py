"""How a face looks in one image, whoever it is: what a copied photo shares with the photo and another photo does not.

A recognizer is trained to see through pose, expression and light, so a good one barely tells a copied photo from
another one of the same person. Their upright faces, small and without their shading, do: pixels of one photo agree.
"""

from collections.abc import Sequence

import numpy as np

from ..faces.alignment import TEMPLATE_PX, Template, aligned_face

SIDE_PX = 32
SHADING_PX = 5.0  # the light changes over more than this, features over less
# The middle of ArcFace's crop: brows to chin, without hair and background.
INNER = Template(TEMPLATE_PX - (22.0, 34.0), 68.0, 68.0)
FLATTEST = 1e-3


def appearances(image: np.ndarray, landmarks_px: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [faces, 1024] of an RGB image [H, W, 3] uint8, each of mean 0 and length 1.

    Their products are correlations, -1 to 1; those of a face without any features are 0.
    """
    return np.array([_appearance(image, points) for points in landmarks_px], np.float32).reshape(-1, SIDE_PX**2)


def _appearance(image: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    import cv2

    upright = aligned_face(image, landmarks_px, INNER, 2 * SIDE_PX)
    gray = cv2.resize(cv2.cvtColor(upright, cv2.COLOR_RGB2GRAY), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    features = gray.astype(np.float64) - cv2.GaussianBlur(gray.astype(np.float64), (0, 0), SHADING_PX)
    features -= features.mean()
    length = np.linalg.norm(features)
    return (features / length if length > FLATTEST else np.zeros_like(features)).ravel()
