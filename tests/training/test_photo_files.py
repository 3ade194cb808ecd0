"""Photos as users have them: kinds of files, orientation, transparency, and photos that are the same."""

import io

import numpy as np
import pytest
from PIL import Image, features
from withanyone_pack.tests.training import coded_faces as coded

from training.preparing.duplicates import duplicates
from training.preparing.photos import UnreadablePhoto, decode_photo, difference_hash, hash_distance, pad_photo


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "I;16", "1"])
def test_every_kind_of_image_becomes_rgb(mode):
    image = Image.fromarray(coded.photo((1, 1))).convert("L" if mode in ("I;16", "1") else "RGB")
    image = (
        image.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else image.convert(mode)
    )
    stream = coded.io.BytesIO()
    image.save(stream, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
    pixels = decode_photo(stream.getvalue())
    assert (pixels.shape, pixels.dtype) == ((128, 160, 3), np.uint8)
    assert 20 < pixels.mean() < 235


def test_transparency_is_laid_over_black():
    image = np.full((8, 8, 4), 255, np.uint8)
    image[:, 4:, 3] = 0
    stream = coded.io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    assert decode_photo(stream.getvalue())[0, :, 0].tolist() == [255] * 4 + [0] * 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_shows_the_same(orientation):
    upright = coded.photo((1, 1))
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # PIL's transposes that undo the orientation
    image = Image.fromarray(upright)
    for turn in turns.get(orientation, []):
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = coded.io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    assert np.array_equal(decode_photo(stream.getvalue()), upright)


def test_what_is_no_image_is_refused():
    with pytest.raises(UnreadablePhoto, match="it is no image"):
        decode_photo(b"text")
    whole = coded.png(coded.photo((1, 1)))
    with pytest.raises(UnreadablePhoto, match="it is damaged"):
        decode_photo(whole[: len(whole) // 2])


def test_a_border_keeps_the_photo_in_the_middle():
    photo = coded.photo((1, 1))
    larger, (x, y) = pad_photo(photo)
    assert larger.shape == (192, 240, 3)
    assert np.array_equal(larger[y : y + 128, x : x + 160], photo)
    assert larger.sum() == photo.sum()


def test_a_hash_survives_scaling_and_jpeg_and_tells_photos_apart():
    first, second = coded.photo((1, 1), seed=1), coded.photo((1, 1), seed=2)
    stream = coded.io.BytesIO()
    Image.fromarray(first).resize((320, 256), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=80)
    again = difference_hash(decode_photo(stream.getvalue()))
    assert hash_distance(difference_hash(first), again) <= 4
    assert hash_distance(difference_hash(first), difference_hash(second)) > 10


@pytest.mark.parametrize("distance", [0, 1, 4, 10])
def test_every_near_hash_is_found_and_no_other(distance):
    rng = np.random.default_rng(distance)
    values = [int(value) for value in rng.integers(0, 2**63, 40)]
    near = []
    for value in values:
        for bit in rng.choice(64, distance + int(rng.integers(2)), replace=False):
            value ^= 1 << int(bit)
        near.append(value)
    found = duplicates(values + near, distance)
    expected = {
        40 + number: number
        for number, (value, other) in enumerate(zip(values, near, strict=True))
        if hash_distance(value, other) <= distance
    }
    assert found == expected
    assert 0 < len(expected) < 40


OLD_PILLOW = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF; 11.3 does")


@pytest.mark.parametrize("kind", ["GIF", pytest.param("AVIF", marks=OLD_PILLOW)])
def test_avif_and_the_first_frame_of_a_gif_are_read(kind):
    image, stream = coded.photo(width=96, height=64), io.BytesIO()
    options = {"save_all": True, "append_images": [Image.new("RGB", (96, 64))]} if kind == "GIF" else {"quality": 95}
    Image.fromarray(image).save(stream, kind, **options)
    read = decode_photo(stream.getvalue()).astype(float)
    assert read.shape == image.shape
    assert abs(read - image).mean() < 16


def test_floating_point_pixels_are_refused_rather_than_black():
    stream = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(stream, "TIFF")
    with pytest.raises(UnreadablePhoto, match="floating-point"):
        decode_photo(stream.getvalue())


def test_heic_is_read_upright():
    """Where pillow-heif, which is optional, is installed."""
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is optional and not installed")
    heif.register_heif_opener()
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32] = 200
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(image).save(stream, "HEIF", exif=exif.tobytes())
    read = decode_photo(stream.getvalue())
    assert read.shape == (96, 64, 3)
    assert read[:, 40:].mean() > 190
    assert read[:, :24].mean() < 10
