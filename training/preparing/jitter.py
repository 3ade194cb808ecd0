"""Jittered crops of a face: other colors and another frame, so that SigLIP's tokens are not always of the same pixels.

Drawn from the photo's content and the settings alone, so that a crop is the same whenever it is made.
"""

from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from PIL import Image, ImageEnhance

from withanyone_core.canvas import BoxPx
from withanyone_core.faces.crop import crop_rectangle

from ..configuration.preparing import JitterSettings
from .detection import DetectedPhoto


@dataclass(frozen=True)
class Jitter:
    """What is changed: the frame, and factors of brightness, contrast and saturation."""

    box_px: BoxPx
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    def colored(self, crop: np.ndarray) -> np.ndarray:
        """A crop uint8 [H, W, 3] in the other colors."""
        image = Image.fromarray(crop)
        for enhance, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            if factor != 1.0:
                image = enhance(image).enhance(factor)
        return np.array(image)


def jitters(settings: JitterSettings, detected: DetectedPhoto, face: int, seed: int) -> tuple[Jitter, ...]:
    """The changes of one face of a photo."""
    box_px = detected.faces[face].box_px
    drawn = [_drawn(settings, (seed, detected.digest, box_px, variant), box_px) for variant in range(settings.variants)]
    # A tiny face at the border may have been moved off the photo.
    return tuple(
        each if crop_rectangle(each.box_px, detected.width_px, detected.height_px) else replace(each, box_px=box_px)
        for each in drawn
    )


def _drawn(settings: JitterSettings, parts: tuple[object, ...], box_px: BoxPx) -> Jitter:
    key = int.from_bytes(sha256(repr(parts).encode()).digest()[:8], "big")
    x, y, wide, high, *factors = np.random.default_rng(key).uniform(-1.0, 1.0, 7).tolist()
    x1, y1, x2, y2 = box_px
    width, height = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + settings.box * x * width, (y1 + y2) / 2 + settings.box * y * height
    width, height = width * (1 + settings.box * wide), height * (1 + settings.box * high)
    strengths = (settings.brightness, settings.contrast, settings.saturation)
    return Jitter(
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        *(1 + strength * factor for strength, factor in zip(strengths, factors, strict=True)),
    )
