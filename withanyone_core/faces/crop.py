"""The square face crop that SigLIP encodes, as the released program cuts it."""

import numpy as np
from PIL import Image

from ..canvas import BoxPx, WholeBoxPx
from ..tolerance import PLACES_PX, SLACK_PX

SIDE_PX = 512
SMALLEST_FACE_PX = 1.0


def crop_rectangle(box_px: BoxPx, width_px: int, height_px: int) -> WholeBoxPx | None:
    """The whole-pixel rectangle (x1, y1, x2, y2) that is cut for a detector's box, or None where nothing can be cut.

    Coordinates are truncated, the shorter side grows by the difference (the smaller half first), and the result is
    clipped to the image, after which it need not be square any more. No margin is added. None for boxes under one
    pixel wide or high and for boxes outside the image.
    """
    x1, y1, x2, y2 = box_px
    if min(x2 - x1, y2 - y1) < SMALLEST_FACE_PX - SLACK_PX:
        return None
    x1, y1, x2, y2 = whole_pixels(box_px)
    missing = (y2 - y1) - (x2 - x1)
    before, after = abs(missing) // 2, abs(missing) - abs(missing) // 2
    if missing > 0:
        x1, x2 = x1 - before, x2 + after
    else:
        y1, y2 = y1 - before, y2 + after
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width_px), min(y2, height_px)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def whole_pixels(box_px: BoxPx) -> WholeBoxPx:
    """A box truncated to whole pixels (released program); 100 computed as 99.99998 is 100 on every machine."""
    x1, y1, x2, y2 = (int(round(float(value), PLACES_PX)) for value in box_px)
    return x1, y1, x2, y2


def face_crop(photo: np.ndarray, box_px: BoxPx) -> np.ndarray:
    """The face of an RGB photo [H, W, 3] uint8 as [512, 512, 3] uint8; a crop clipped at the border is stretched.

    Raises ValueError for a box that `crop_rectangle` refuses.
    """
    height_px, width_px = photo.shape[:2]
    rectangle = crop_rectangle(box_px, width_px, height_px)
    if rectangle is None:
        box = ", ".join(f"{value:.1f}" for value in box_px)
        raise ValueError(
            f"The face box ({box}) covers no pixel of the photo ({width_px} x {height_px}) or is under one pixel wide."
        )
    cut = Image.fromarray(photo).crop(rectangle)
    # LANCZOS to a square, whatever the cut's proportions, as released.
    return np.asarray(cut.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS))
