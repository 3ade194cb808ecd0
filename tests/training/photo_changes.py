"""One real photo of a person turned into several."""

import cv2
import numpy as np


def changed(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """The RGB image rolled, scaled, sheared, darkened and noisier, by chance mirrored; 0 leaves it as it is."""
    height, width = image.shape[:2]
    angle, scale, lean = rng.uniform(-1, 1, 3) * strength
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 20 * angle, 1 + 0.15 * scale)
    shear = np.array([[1, 0.25 * lean, 0], [0, 1, 0], [0, 0, 1]])
    photo = cv2.warpAffine(image, matrix @ shear, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if strength > 0.5 and rng.random() < 0.5:
        photo = photo[:, ::-1]
    values = photo * (1 - 0.5 * strength * rng.random()) + rng.normal(0, 25 * strength, photo.shape)
    return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8))
