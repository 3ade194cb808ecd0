"""Files to upright 8-bit RGB images, and their perceptual hash."""

import io
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

PADDING = 1.5  # of a photo in which no face was found: close-ups are too large for the detector
HASH_SIDE = 8
GREYS_16_BIT = 257  # 65535 / 255


class UnreadablePhoto(ValueError):
    """A photo that cannot be decoded; the message says why."""


@cache
def reads_heic() -> bool:
    """Whether HEIC can be read: pillow-heif, where it is installed, is made known to Pillow."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


@cache
def reads_avif() -> bool:
    """Whether this Pillow reads AVIF."""
    return bool(features.check("avif"))


def decode_photo(content: bytes) -> np.ndarray:
    """RGB uint8 [H, W, 3] of a file's bytes, turned as its EXIF says; transparency is laid over black.

    Of several frames the first.

    Raises UnreadablePhoto.
    """
    reads_heic()
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
                upright = Image.alpha_composite(black, upright)
            if upright.mode == "F":
                raise UnreadablePhoto("its pixels are floating-point numbers of no known range; save it as JPEG or PNG")
            if upright.mode.startswith("I"):
                # 16-bit grey: Pillow's own conversion cuts off everything above 255.
                upright = Image.fromarray((np.asarray(upright) / GREYS_16_BIT).clip(0, 255).round().astype(np.uint8))
            return np.asarray(upright.convert("RGB"))
    except UnreadablePhoto:
        raise
    except UnidentifiedImageError as error:
        raise UnreadablePhoto(f"it is no image ({len(content)} bytes); save it as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(f"it is too large ({error}); scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadablePhoto(f"it is damaged ({error}); copy it again from where it came from") from error


def pad_photo(photo: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The photo in the middle of a black one 1.5 times as wide and high, and where its corner is now (x, y)."""
    height_px, width_px = photo.shape[:2]
    x, y = (round(side * (PADDING - 1) / 2) for side in (width_px, height_px))
    larger = np.zeros((height_px + 2 * y, width_px + 2 * x, 3), np.uint8)
    larger[y : y + height_px, x : x + width_px] = photo
    return larger, (x, y)


def difference_hash(photo: np.ndarray) -> int:
    """64 bits: whether brightness falls from left to right at each place of a 8 x 8 grid."""
    small = Image.fromarray(photo).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    greys = np.asarray(small, dtype=np.int16)
    bits = greys[:, :-1] > greys[:, 1:]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(first: int, second: int) -> int:
    """Number of bits that differ, 0 to 64."""
    return (first ^ second).bit_count()
