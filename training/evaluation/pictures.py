"""Pictures opened as people see them: 8-bit RGB, turned as the camera noted."""

import base64

import numpy as np

from .cases import Picture


class Unreadable(ValueError):
    """A picture that is missing, cut off or no picture; the message says which and why."""


def decoded(encoded: bytes, label: str) -> np.ndarray:
    """RGB uint8 [H, W, 3] of an encoded picture. Raises Unreadable, naming `label`, where it is none."""
    import cv2

    if not encoded:
        raise Unreadable(f"{label} is empty")
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise Unreadable(f"{label} ({len(encoded)} bytes) cannot be read as a picture")
    return np.ascontiguousarray(picture[:, :, ::-1])


def content(picture: Picture) -> bytes:
    """The encoded picture. Raises Unreadable where its file cannot be read."""
    try:
        return picture.read()
    except OSError as error:
        raise Unreadable(f"{picture.label} cannot be read: {error.strerror}") from error


def data_uri(picture: Picture, longest_px: int) -> str:
    """A JPEG of at most `longest_px` pixels a side, written into the page itself: its name gives nothing away."""
    import cv2

    shown = fitted(decoded(content(picture), picture.label), longest_px)
    _, encoded = cv2.imencode(".jpg", shown[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def fitted(picture: np.ndarray, longest_px: int) -> np.ndarray:
    """The picture [H, W, 3], reduced if one side is longer than `longest_px`."""
    import cv2

    scale = longest_px / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
