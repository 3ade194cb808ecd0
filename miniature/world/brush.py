"""Fills shapes on a canvas; colors are RGB from 0 to 255, points are pixels of the canvas."""

from collections.abc import Sequence

import cv2
import numpy as np

from .curves import Points

Color = Sequence[float] | np.ndarray
_SHIFT = 4


class Brush:
    """Draws on canvas_px, uint8 RGB [H, W, 3], in place."""

    def __init__(self, canvas_px: np.ndarray) -> None:
        self.canvas_px = canvas_px

    def fill(self, points: Points, color: Color, strength: float = 1.0) -> None:
        """Fills the polygon; strength below 1 lets what lies under it shine through."""
        if strength >= 0.995:
            cv2.fillPoly(self.canvas_px, [_fixed(points)], _rgb(color), cv2.LINE_AA, _SHIFT)
        elif strength > 0.005:
            patch, left, top = self._patch(points)
            if patch.size:
                over = patch.copy()
                cv2.fillPoly(over, [_fixed(points - (left, top))], _rgb(color), cv2.LINE_AA, _SHIFT)
                cv2.addWeighted(over, strength, patch, 1 - strength, 0, dst=patch)

    def mist(self, points: Points, color: Color, strength: float, softness_px: float) -> None:
        """Fills the polygon with an edge that fades over about 2 x softness_px."""
        reach = 2 * softness_px + 1
        patch, left, top = self._patch(points, reach)
        if not patch.size:
            return
        mask = np.zeros(patch.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_fixed(points - (left, top))], int(255 * strength), cv2.LINE_AA, _SHIFT)
        side = 2 * int(softness_px) + 1
        mask = cv2.blur(cv2.blur(mask, (side, side)), (side, side))
        self.tint(patch, mask, color)

    @staticmethod
    def tint(patch_px: np.ndarray, mask: np.ndarray, color: Color) -> None:
        """Moves patch_px (uint8 RGB [h, w, 3]) in place towards the color by mask (uint8 [h, w]) / 255."""
        fraction = mask[..., None].astype(np.float32) / 255
        patch_px[:] = patch_px + fraction * (np.asarray(color, np.float32) - patch_px) + 0.5

    def patch(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """The part of the canvas around the polygon (a view) and the polygon's mask in it, uint8 [h, w]."""
        patch, left, top = self._patch(points)
        mask = np.zeros(patch.shape[:2], np.uint8)
        if patch.size:
            cv2.fillPoly(mask, [_fixed(points - (left, top))], 255, cv2.LINE_AA, _SHIFT)
        return patch, mask

    def _patch(self, points: Points, reach: float = 2) -> tuple[np.ndarray, int, int]:
        height, width = self.canvas_px.shape[:2]
        (left, top), (right, bottom) = points.min(0) - reach, points.max(0) + reach
        left, right = (int(min(max(x, 0), width)) for x in (left, right + 1))
        top, bottom = (int(min(max(y, 0), height)) for y in (top, bottom + 1))
        return self.canvas_px[top:bottom, left:right], left, top


def _fixed(points: Points) -> np.ndarray:
    # OpenCV's whole numbers are the middles of pixels, ours their corners.
    return np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _rgb(color: Color) -> tuple[float, float, float]:
    red, green, blue = color
    return float(red), float(green), float(blue)
