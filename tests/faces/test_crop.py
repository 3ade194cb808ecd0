import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.faces.crop import crop_rectangle, face_crop

GOLDEN = ROOT / "tests/golden/inference"
RECTANGLES = json.loads((GOLDEN / "e_bbox_helpers.json").read_text())["face_crop_rect"]


@pytest.mark.parametrize("case", RECTANGLES)
def test_rectangles_are_those_of_the_released_program(case):
    rectangle = crop_rectangle(tuple(case["bbox_f32"]), *case["image_wh"])
    assert rectangle == (tuple(case["crop_box"]) if case["crop_box"] else None)


def test_crop_is_that_of_the_released_program():
    golden = json.loads((GOLDEN / "g_images.json").read_text())
    photo = np.asarray(Image.open(GOLDEN / golden["source"]).convert("RGB"))
    crop = face_crop(photo, tuple(golden["face_bbox_f32"]))
    expected = np.asarray(Image.open(GOLDEN / golden["crop"]).convert("RGB"))
    assert crop.shape == (512, 512, 3)
    assert np.abs(crop.astype(int) - expected).max() <= 1  # Pillow's versions differ by one level
    if hashlib.sha256(expected.tobytes()).hexdigest() == golden["crop_sha256"]:
        assert np.array_equal(crop, expected)


@pytest.mark.parametrize("box", [(10.0, 10.0, 10.9, 40.0), (70.0, 5.0, 90.0, 25.0), (-30.0, 5.0, -10.0, 25.0)])
def test_a_box_without_pixels_is_refused_with_a_message(box):
    assert crop_rectangle(box, 64, 48) is None
    with pytest.raises(
        ValueError, match=r"The face box \(.*\) covers no pixel of the photo \(64 x 48\) or is under one"
    ):
        face_crop(np.zeros((48, 64, 3), np.uint8), box)


def test_an_odd_difference_grows_by_the_smaller_half_first():
    assert crop_rectangle((20.0, 20.0, 31.0, 40.0), 64, 64) == (16, 20, 36, 40)
    assert crop_rectangle((20.0, 20.0, 41.0, 30.0), 64, 64) == (20, 15, 41, 36)


def test_a_whole_pixel_stays_one_however_it_was_computed():
    for whole in (100, 512, 4000):
        for value in (whole, whole - 1e-9, np.nextafter(np.float32(whole), np.float32(0)), whole + 1e-9):
            assert crop_rectangle((value, value, value + 60.0, value + 60.0), 9000, 9000) == (
                whole,
                whole,
                whole + 60,
                whole + 60,
            )
    assert crop_rectangle((99.99, 99.99, 160.0, 160.0), 200, 200) == (99, 99, 160, 160)
