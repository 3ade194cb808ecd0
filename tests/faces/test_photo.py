import numpy as np
import pytest
import torch
from withanyone_pack.withanyone_core.faces.photo import image_arrays

LEVELS = torch.arange(256, dtype=torch.float32) / 255


def test_eight_bit_levels_come_back():
    photo = LEVELS.reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)
    (image,) = image_arrays(photo)
    assert image.dtype == np.uint8
    assert np.array_equal(image[..., 1].reshape(-1), np.arange(256))


def test_channels_keep_their_order():
    photo = torch.zeros(1, 4, 4, 3)
    photo[..., 0] = 1.0
    assert image_arrays(photo)[0][0, 0].tolist() == [255, 0, 0]


def test_every_photo_of_a_batch_and_grey_expands():
    batch = image_arrays(torch.rand(3, 5, 7, 1))
    assert [image.shape for image in batch] == [(5, 7, 3)] * 3
    assert np.array_equal(batch[0][..., 0], batch[0][..., 2])


def test_transparency_is_laid_over_black():
    photo = torch.ones(1, 2, 2, 4)
    photo[0, 0, 0, 3], photo[0, 1, 1, 3] = 0.0, 0.5
    (image,) = image_arrays(photo)
    assert image[..., 0].tolist() == [[0, 255], [255, 128]]
    assert image.shape == (2, 2, 3)


def test_overshoot_is_clipped():
    (image,) = image_arrays(torch.tensor([-0.1, 1.2, 0.5]).reshape(1, 1, 1, 3))
    assert image[0, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize(
    ("photos", "words"),
    [
        (torch.rand(4, 4, 3), r"portrait: expected an IMAGE batch .* got shape \(4, 4, 3\)"),
        (torch.rand(0, 4, 4, 3), r"portrait: the IMAGE batch is empty \(shape \(0, 4, 4, 3\)\); connect at least one"),
        (torch.rand(1, 4, 4, 2), r"portrait: expected 1 \(grey\), 3 \(RGB\) or 4 \(RGBA\) channels last, got shape"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), r"portrait: expected floating point values .*got torch.uint8"),
        (torch.rand(1, 4, 4, 3) * 255, r"portrait: photo 1 has values up to \d+.*expected 0 to 1"),
        ([1, 2], r"portrait: expected an IMAGE batch, got list"),
    ],
)
def test_what_is_no_batch_of_photos_is_refused_with_a_message(photos, words):
    with pytest.raises(ValueError, match=words):
        image_arrays(photos, "portrait")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_with_the_photo_s_number(value):
    photos = torch.rand(2, 4, 4, 3)
    photos[1, 2, 2, 0] = value
    with pytest.raises(ValueError, match=r"photos: photo 2 holds 1 values that are NaN or infinite; check the node"):
        image_arrays(photos)
