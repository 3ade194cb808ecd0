"""Images opened as people see them: 8-bit RGB, turned as the camera noted."""

import base64

import numpy as np

from .cases import Image


class Unreadable(ValueError):
    """An image that is missing, cut off or no image; the message says which and why."""


def decode_image(encoded: bytes, label: str) -> np.ndarray:
    """RGB uint8 [H, W, 3] of an encoded image. Raises Unreadable, naming `label`, where it is none."""
    import cv2

    if not encoded:
        raise Unreadable(f"{label} is empty")
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise Unreadable(f"{label} ({len(encoded)} bytes) cannot be read as an image")
    return np.ascontiguousarray(image[:, :, ::-1])


def content(image: Image) -> bytes:
    """The encoded image. Raises Unreadable where its file cannot be read."""
    try:
        return image.read()
    except OSError as error:
        raise Unreadable(f"{image.label} cannot be read: {error.strerror}") from error


def data_uri(image: Image, longest_px: int) -> str:
    """A JPEG of at most `longest_px` pixels a side, written into the page itself: its name gives nothing away."""
    import cv2

    fitted_image = fitted(decode_image(content(image), image.label), longest_px)
    _, encoded = cv2.imencode(".jpg", fitted_image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def fitted(image: np.ndarray, longest_px: int) -> np.ndarray:
    """The image [H, W, 3], reduced if one side is longer than `longest_px`."""
    import cv2

    scale = longest_px / max(image.shape[:2])
    if scale >= 1:
        return image
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
