"""Photos that lie on their side: detectors find upright faces only."""

import numpy as np

from .face_analysis import FaceAnalysis

CLOCKWISE_DEGREES = (90, 270, 180)  # on their side first: that is how cameras lie


def turning_hint(photo: np.ndarray, analysis: FaceAnalysis) -> str:
    """A sentence, with a space before it, where a photo without a face shows one when it is turned; else nothing."""
    for degrees in CLOCKWISE_DEGREES:
        # rot90 turns counterclockwise.
        if analysis.faces(np.ascontiguousarray(np.rot90(photo, -degrees // 90))):
            return (
                f" A face is found when the photo is turned by {degrees} degrees clockwise: turn it upright first, for "
                "instance with the node ImageRotate."
            )
    return ""
