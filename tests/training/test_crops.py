"""Crops of photos into buckets, and what is said of the faces in them."""

import numpy as np
import pytest

from training.preparing.crops import ENLARGED_AT_MOST, bucket_sizes, crops
from training.preparing.quality import eye_ratio, flags, is_small, pose, sharpness
from withanyone_core.faces.alignment import TEMPLATE_PX


def test_buckets_are_multiples_of_16_of_about_the_same_area():
    sizes = bucket_sizes((512, 768), (1.0, 0.75, 2 / 3, 1.5))
    assert (512, 512) in sizes
    for width, height in sizes:
        assert (width % 16, height % 16) == (0, 0)
        nearest = min((512, 768), key=lambda size: abs(size**2 - width * height))
        assert width * height == pytest.approx(nearest**2, rel=0.03)


def test_crops_keep_every_face_for_any_photo():
    rng = np.random.default_rng(0)
    buckets = bucket_sizes((64, 96), (1.0, 0.75, 4 / 3))
    made = 0
    for _ in range(300):
        width, height = (int(side) for side in rng.integers(60, 400, 2))
        faces = []
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.uniform(-10, width - 15), rng.uniform(-10, height - 15)
            faces.append((x, y, x + rng.uniform(12, 60), y + rng.uniform(12, 60)))
        for crop in crops(width, height, faces, buckets, 4, rng):
            made += 1
            x1, y1, x2, y2 = crop.rectangle_px
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            assert (crop.width_px, crop.height_px) in buckets
            assert (x2 - x1) / (y2 - y1) == pytest.approx(crop.width_px / crop.height_px)
            assert crop.width_px / (x2 - x1) <= ENLARGED_AT_MOST + 1e-9
            for face in faces:
                seen = [max(face[0], 0), max(face[1], 0), min(face[2], width), min(face[3], height)]
                assert x1 - 1e-6 <= seen[0]
                assert seen[2] <= x2 + 1e-6
                assert y1 - 1e-6 <= seen[1]
                assert seen[3] <= y2 + 1e-6
    assert made > 400


def test_faces_too_far_apart_fit_nowhere_and_small_photos_only_enlarged():
    rng = np.random.default_rng(0)
    ends = [(0.0, 40.0, 40.0, 80.0), (360.0, 40.0, 400.0, 80.0)]
    assert crops(400, 120, ends, ((64, 64), (96, 64)), 4, rng) == ()
    assert len(crops(400, 120, ends[:1], ((64, 64), (96, 64)), 4, rng)) == 4
    middle = [(10.0, 10.0, 30.0, 30.0)]
    assert crops(40, 40, middle, ((64, 64),), 4, rng) == ()
    assert len(crops(40, 40, middle, ((64, 64),), 4, rng, enlarge=True)) == 4


def test_a_crop_maps_boxes_and_points_as_it_maps_pixels():
    photo = np.zeros((120, 200, 3), np.uint8)
    photo[40:80, 100:150] = 255
    (crop, *_) = crops(200, 120, [(100.0, 40.0, 150.0, 80.0)], ((96, 64),), 1, np.random.default_rng(0))
    lit = np.argwhere(crop.pixels(photo)[..., 0] > 127)
    x1, y1, x2, y2 = crop.box((100.0, 40.0, 150.0, 80.0))
    assert lit.min(axis=0) == pytest.approx((y1 * 64, x1 * 96), abs=1)
    assert lit.max(axis=0) + 1 == pytest.approx((y2 * 64, x2 * 96), abs=1)
    assert crop.points(np.array([[100.0, 80.0]]))[0] == pytest.approx((x1, y2))


def seen_from(eyes, mouth, nose=50.0):
    """Landmarks whose eyes and mouth corners lie at these x, at heights that must not matter."""
    return np.array([[eyes[0], 31.0], [eyes[1], 40.5], [nose, 60.0], [mouth[0], 77.0], [mouth[1], 81.0]])


@pytest.mark.parametrize(
    ("landmarks", "ratio", "word"),
    [
        (TEMPLATE_PX, 1.0, "front"),
        (seen_from((0, 79), (0, 100)), 0.79, "front"),
        (seen_from((0, 78), (0, 100)), 0.78, "partial_profile"),
        (seen_from((30, 70), (0, 100)), 0.4, "partial_profile"),
        (seen_from((30, 69), (0, 100)), 0.39, "profile"),
        (seen_from((30, 70), (20, 100), nose=-3.0), 40 / 103, "profile"),
        (seen_from((69, 30), (0, 60), nose=100.0), 0.39, "profile"),
        (seen_from((5, 5), (5, 5), nose=5.0), 0.0, "profile"),
    ],
)
def test_turned_heads_are_told_apart_as_the_released_program_does(landmarks, ratio, word):
    """Horizontal distance of the eyes over the horizontal extent of the five; a bound itself belongs to the lower."""
    assert eye_ratio(landmarks) == pytest.approx(ratio)
    for scale, shift in ((1, 0), (3.7, 91), (0.1, 1e-3), (1 / 3, 512)):
        assert pose(scale * landmarks + shift) == word
        assert pose((scale * landmarks + shift).astype(np.float32)) == word


def test_a_face_as_wide_as_the_bound_is_not_small_however_it_was_computed():
    for shift in np.linspace(0, 900, 301):
        assert not is_small((shift + 0.1, shift + 0.3, shift + 0.1 + 100.0, shift + 0.3 + 100.0))
        box_px = tuple(np.array([shift, shift, shift + 100, shift + 100], np.float32) / np.float32(3) * np.float32(3))
        assert not is_small(box_px)
    assert is_small((0.0, 0.0, 99.9, 120.0))


def test_flags():
    box, points = (0.0, 0.0, 120.0, 101.0), TEMPLATE_PX
    assert flags(box, points, 200.0, 20.0, 512, 20.0) == ()
    assert flags((0.0, 0.0, 120.0, 99.0), points, 20.0, 11.0, 512, 20.0) == ("small", "blurred", "faint")
    assert is_small(box, 640)
    assert not is_small((0.0, 0.0, 40.0, 40.0), 160)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (112, 112, 3)).astype(np.uint8)
    assert sharpness(noise) > 1000 > 1 > sharpness(np.full((112, 112, 3), 90, np.uint8))
