"""What happens to pictures on their way: blur, resampling, compression, noise, levels. All uint8 RGB [H, W, 3]."""

import cv2
import numpy as np

SHARE = 0.6  # of pictures that something happens to


def worn(picture: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """The picture as a camera, a file or a decoder of latents might have left it; as it is in four of ten cases.

    strength  0 for hardly anything, 1 for as bad as a small autoencoder makes it, 1.5 for worse
    """
    if rng.random() > SHARE:
        return picture
    if rng.random() < 0.5:
        picture = _resampled(picture, rng, strength)
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.3 + strength * rng.uniform(0, picture.shape[0] / 160))
    if rng.random() < 0.3:
        quality = int(rng.uniform(95 - 60 * min(strength, 1.5), 95))
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    if rng.random() < 0.6:
        picture = _levelled(picture, rng, strength)
    return picture


def _resampled(picture: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = 1 - rng.uniform(0.1, 0.4 * strength + 0.1)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC)


def _levelled(picture: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gain and offset of each colour a little, of all together more, and noise that is coarse half of the time."""
    gain = 1 + strength * (rng.uniform(-0.12, 0.12) + rng.uniform(-0.04, 0.04, 3))
    offset = strength * (rng.uniform(-12, 12) + rng.uniform(-4, 4, 3))
    height, width = picture.shape[:2]
    coarse = 1 if rng.random() < 0.5 else 4
    grain = rng.standard_normal((height // coarse + 1, width // coarse + 1, 3), dtype=np.float32)
    noise = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR) * strength * rng.uniform(0, 6)
    return np.clip(picture * gain.astype(np.float32) + (offset.astype(np.float32) + noise), 0, 255).astype(np.uint8)
