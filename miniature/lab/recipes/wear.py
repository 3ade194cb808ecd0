"""What happens to images on their way: blur, resampling, compression, noise, levels. All uint8 RGB [H, W, 3]."""

import cv2
import numpy as np

WORN_FRACTION = 0.6  # of images that something happens to


def worn(image: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """The image as a camera, a file or a decoder of latents might have left it; as it is in four of ten cases.

    strength  0 for hardly anything, 1 for as bad as a small autoencoder makes it, 1.5 for worse
    """
    if rng.random() > WORN_FRACTION:
        return image
    if rng.random() < 0.5:
        image = _resampled(image, rng, strength)
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), 0.3 + strength * rng.uniform(0, image.shape[0] / 160))
    if rng.random() < 0.3:
        quality = int(rng.uniform(95 - 60 * min(strength, 1.5), 95))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    if rng.random() < 0.6:
        image = _levelled(image, rng, strength)
    return image


def _resampled(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    scale = 1 - rng.uniform(0.1, 0.4 * strength + 0.1)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC)


def _levelled(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gain and offset of each color a little, of all together more, and noise that is coarse half of the time."""
    gain = 1 + strength * (rng.uniform(-0.12, 0.12) + rng.uniform(-0.04, 0.04, 3))
    offset = strength * (rng.uniform(-12, 12) + rng.uniform(-4, 4, 3))
    height, width = image.shape[:2]
    coarse = 1 if rng.random() < 0.5 else 4
    grain = rng.standard_normal((height // coarse + 1, width // coarse + 1, 3), dtype=np.float32)
    noise = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR) * strength * rng.uniform(0, 6)
    return np.clip(image * gain.astype(np.float32) + (offset.astype(np.float32) + noise), 0, 255).astype(np.uint8)
