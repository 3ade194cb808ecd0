"""Light: what it does to a round face and to the whole image."""

from dataclasses import dataclass

import cv2
import numpy as np

from .brush import Brush
from .curves import Points

# Of the colors below: enough to tell the lights apart, little enough to leave faces as they are.
_QUIET = 0.4


@dataclass(frozen=True)
class Light:
    """near, far: RGB factors where the light comes from and on the other side.

    source: (x, y) from the image's middle, y down. depth: how strongly it models a face.
    """

    near: tuple[float, float, float]
    far: tuple[float, float, float]
    source: tuple[float, float]
    depth: float

    def shade(self, brush: Brush, outline: Points, center: Points, radius_px: float) -> None:
        """Models what the outline [N, 2] encloses like a ball of this center and radius."""
        patch, mask = brush.patch(outline)
        if not patch.size:
            return
        corner = np.maximum(np.floor(outline.min(0) - 2), 0)
        small = 4
        x = (np.arange(0, patch.shape[1] + small, small, dtype=np.float32) + corner[0] - center[0]) / radius_px
        y = (np.arange(0, patch.shape[0] + small, small, dtype=np.float32) + corner[1] - center[1]) / radius_px
        towards = x[None, :] * self.source[0] + y[:, None] * self.source[1]
        lit = np.clip(towards, 0, 1)[..., None] ** 1.5
        dark = np.clip(-towards, 0, 1)[..., None] ** 1.5 * np.array([0.55, 0.85, 0.8], np.float32)
        factor = 1 + _QUIET * self.depth * (0.45 * lit - dark)
        factor = cv2.resize(factor.astype(np.float32), (patch.shape[1], patch.shape[0]), interpolation=cv2.INTER_LINEAR)
        cv2.copyTo(cv2.multiply(patch, factor, dtype=cv2.CV_8U), mask, patch)

    def grade(self, image_px: np.ndarray) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], in this light."""
        height, width = image_px.shape[:2]
        y, x = np.mgrid[-1:1:9j, -1:1:9j].astype(np.float32)
        fraction = np.clip(0.5 + 0.5 * (x * self.source[0] + y * self.source[1]), 0, 1)[..., None]
        factor = np.asarray(self.far, np.float32) * (1 - fraction) + np.asarray(self.near, np.float32) * fraction
        factor = 1 + _QUIET * (factor - 1)
        factor = cv2.resize(factor.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.clip(image_px * factor + 0.5, 0, 255).astype(np.uint8)


LIGHT_OF = {
    "daylight": Light((1.06, 1.05, 1.0), (0.95, 0.96, 0.98), (-0.45, -0.8), 0.3),
    "sunset": Light((1.22, 0.94, 0.66), (0.84, 0.6, 0.58), (0.95, -0.1), 0.45),
    "moonlight": Light((0.72, 0.86, 1.16), (0.42, 0.5, 0.8), (-0.5, -0.85), 0.45),
    "lamplight": Light((1.24, 1.06, 0.72), (0.56, 0.42, 0.32), (-0.95, -0.2), 0.5),
    "neon": Light((1.18, 0.62, 1.02), (0.56, 0.96, 1.14), (-0.95, 0.1), 0.3),
}
