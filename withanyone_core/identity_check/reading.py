"""Files to faces, each file read once: what was found is kept by the file's content."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..faces.face_analysis import FaceAnalysis
from ..metrics.cache import ArrayStore
from ..metrics.case import FaceEmbeddings
from .appearance import arrays_of, look_of, looks_in
from .values import SeenImage

MAKER = "check 2"  # of what is kept: another number where it changes, and everything is read again
PADDING = 0.25  # of the longer side, on each side: detectors miss a face that fills its photo


class Unreadable(ValueError):
    """A file that is no whole image; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class FaceReader:
    """Finds the faces of image files.

    fingerprint  of detector, recognizer and settings: with another one everything is read again
    store        where what was found is kept, None to keep nothing
    on_read      called after each file that was not known yet
    """

    analysis: FaceAnalysis
    fingerprint: str
    store: ArrayStore | None = None
    on_read: Callable[[], None] = lambda: None

    def read(self, path: Path, padded: bool = False) -> SeenImage:
        """The faces of an image, looked for again in a black margin if there is none and `padded`.

        Raises Unreadable.
        """
        encoded = _encoded(path)
        maker = f"{MAKER} {self.fingerprint}{' padded' if padded else ''}"
        content = sha256(encoded).hexdigest()
        kept = None if self.store is None else self.store.get(content, maker)
        if kept is None:
            kept = self._found(decode(encoded, path), padded)
            if self.store is not None:
                self.store.put(content, maker, kept)
            self.on_read()
        width, height = kept["size"].tolist()
        faces = FaceEmbeddings(kept["boxes_px"], kept["scores"], kept["embeddings"])
        return SeenImage(path, (width, height), faces, looks_in(kept))

    def _found(self, image: np.ndarray, padded: bool) -> dict[str, np.ndarray]:
        seen = see(image, self.analysis)
        if padded and not seen["scores"].size:
            margin = round(PADDING * max(image.shape[:2]))
            seen = see(np.pad(image, ((margin, margin), (margin, margin), (0, 0))), self.analysis)
            seen["boxes_px"] = seen["boxes_px"] - np.float32(margin)
        return {"size": np.array(image.shape[1::-1], np.int64)} | seen


def see(image: np.ndarray, analysis: FaceAnalysis) -> dict[str, np.ndarray]:
    """Boxes, scores, embeddings, looks and tints of the faces of an RGB image [H, W, 3] uint8."""
    found = analysis.faces(image)
    faces = FaceEmbeddings.of(found)
    looks = arrays_of([look_of(image, face.landmarks_px) for face in found])
    return {"boxes_px": faces.boxes_px, "scores": faces.scores, "embeddings": faces.embeddings} | looks


def read_image(path: Path) -> np.ndarray:
    """RGB uint8 [H, W, 3] as people see the file. Raises Unreadable."""
    return decode(_encoded(path), path)


def decode(encoded: bytes, path: Path) -> np.ndarray:
    """Turned as the camera noted, transparency laid over black as ComfyUI's nodes of this pack do."""
    if not encoded:
        raise Unreadable(f"{path} is empty")
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                clear = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
            elif upright.mode.startswith("I"):
                upright = Image.fromarray((np.asarray(upright, np.float64) / 257).clip(0, 255).astype(np.uint8))
            return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is no image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise Unreadable(f"{path} ({len(encoded)} bytes) cannot be read: {reason}") from error


def _encoded(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
