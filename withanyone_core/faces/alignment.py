"""Turning a face upright: the photo warped so that five landmarks meet a template, ArcFace's by default."""

from dataclasses import dataclass

import numpy as np

SIDE_PX = 112
# Left eye, right eye, nose, left and right mouth corner (as seen in the image) in ArcFace's 112-pixel crop.
TEMPLATE_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
CLOSEST_LANDMARKS_PX = 1e-3


@dataclass(frozen=True, eq=False)
class Template:
    """Where the landmarks lie in a recognizer's crop.

    points_px  float64 [5, 2] in the order of TEMPLATE_PX, in pixels of a crop of width_px x height_px. Where that is
               not square and the crop is, the face is stretched, as recognizers saw it that cut out the detector's box
    """

    points_px: np.ndarray
    width_px: float
    height_px: float


ARCFACE = Template(TEMPLATE_PX, SIDE_PX, SIDE_PX)


def are_spread(landmarks_px: np.ndarray) -> bool:
    """Whether five landmarks [5, 2] can be aligned: finite and not all in one point."""
    finite = bool(np.isfinite(landmarks_px).all())
    return finite and float(np.ptp(landmarks_px, axis=0).max()) > CLOSEST_LANDMARKS_PX


def similarity(landmarks_px: np.ndarray, template_px: np.ndarray = TEMPLATE_PX) -> np.ndarray:
    """The least-squares rotation, scale and shift from landmarks [5, 2] to the template [5, 2], as a matrix [2, 3].

    With points as complex numbers z and template points w it is the line w = a z + b, fitted in closed form.
    """
    z = landmarks_px.astype(np.float64) @ (1, 1j)
    w = template_px @ (1, 1j)
    z_from_mean, w_from_mean = z - z.mean(), w - w.mean()
    # vdot conjugates its first argument: a = sum(conj(z) w) / sum(|z|^2).
    a = np.vdot(z_from_mean, w_from_mean) / np.vdot(z_from_mean, z_from_mean).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def aligned_face(
    photo: np.ndarray, landmarks_px: np.ndarray, template: Template = ARCFACE, side_px: int = SIDE_PX
) -> np.ndarray:
    """The upright face [side_px, side_px, 3] of a photo [H, W, 3] uint8 in the photo's own channel order.

    Black outside the photo.
    """
    import cv2

    # After the fit: a crop may stretch its template, the similarity itself never does.
    scale = np.array([[side_px / template.width_px], [side_px / template.height_px]])
    matrix = scale * similarity(landmarks_px, template.points_px)
    # Bilinear and black outside, as insightface cuts the crops that ArcFace is trained on.
    return cv2.warpAffine(photo, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderValue=0.0)
