"""How a face looks in one image, whoever it is: what a copied photo shares with the photo and another photo does not.

A recognizer is trained to see through pose, expression and light, so a good one barely tells a copied photo from
another one of the same person. Their upright faces do; `registration` says how far two of them are apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faces.alignment import SIDE_PX, TEMPLATE_PX, Template, aligned_face, similarity

LOOK_PX = 64
MARGIN_PX = 8.0  # more than ArcFace's crop shows: pose shows in how features lie against hairline and jaw
HEAD = Template(TEMPLATE_PX + MARGIN_PX, SIDE_PX + 2 * MARGIN_PX, SIDE_PX + 2 * MARGIN_PX)
LARGEST_PX = 16 * LOOK_PX
SKIN = slice(24, 54), slice(19, 45)  # rows and columns of brows to mouth
DARKEST = 8.0  # of 255, added before logarithms: noise of black has no color


@dataclass(frozen=True, eq=False)
class Look:
    """A face, upright, as one image shows it.

    gray  uint8 [64, 64], black outside the image
    tint  float32 [3]: logarithms of the face's mean red, green and blue, less their mean; the color of skin and light
    """

    gray: np.ndarray
    tint: np.ndarray


def look_of(image: np.ndarray, landmarks_px: np.ndarray) -> Look:
    """The look of a face [5, 2] in an RGB image [H, W, 3] uint8."""
    import cv2

    # Cut out no smaller than the image has it, and averaged down: leaving pixels out would move edges.
    scale = float(np.hypot(*similarity(landmarks_px, HEAD.points_px)[:, 0])) / HEAD.width_px
    side_px = 2 * LOOK_PX
    while side_px * scale < 1 and side_px < LARGEST_PX:
        side_px *= 2
    upright = cv2.resize(
        aligned_face(image, landmarks_px, HEAD, side_px), (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA
    )
    levels = np.log(upright[SKIN].reshape(-1, 3).mean(axis=0) + DARKEST)
    return Look(cv2.cvtColor(upright, cv2.COLOR_RGB2GRAY), (levels - levels.mean()).astype(np.float32))


def arrays_of(looks: Sequence[Look]) -> dict[str, np.ndarray]:
    """For keeping: "looks" uint8 [n, 64, 64] and "tints" float32 [n, 3]."""
    return {
        "looks": np.array([look.gray for look in looks], np.uint8).reshape(-1, LOOK_PX, LOOK_PX),
        "tints": np.array([look.tint for look in looks], np.float32).reshape(-1, 3),
    }


def looks_in(arrays: dict[str, np.ndarray]) -> tuple[Look, ...]:
    """What `arrays_of` made arrays of."""
    return tuple(Look(gray, tint) for gray, tint in zip(arrays["looks"], arrays["tints"], strict=True))
