import warnings

import numpy as np
import pytest
from withanyone_pack.tests.faces.small_pack import TEMPLATE_PX
from withanyone_pack.withanyone_core.faces.alignment import aligned_face, are_spread, similarity

RANDOM = np.random.default_rng(3)
PHOTO = RANDOM.integers(0, 256, (200, 300, 3), dtype=np.uint8)


def landmarks(angle: float, scale: float, shift: tuple[float, float], jitter: float) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((TEMPLATE_PX - 56) @ turn.T * scale + shift + RANDOM.normal(0, jitter, (5, 2))).astype(np.float32)


def test_template_is_reached_exactly():
    points = landmarks(0.4, 1.7, (150, 100), 0.0)
    assert np.allclose(np.c_[points, np.ones(5)] @ similarity(points).T, TEMPLATE_PX, atol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 0.5, -2.5])
@pytest.mark.parametrize("scale", [0.4, 2.0])
def test_aligned_face_equals_insightface_s(angle, scale):
    from insightface.utils import face_align

    points = landmarks(angle, scale, (120, 90), 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # scikit-image renamed what insightface calls
        expected = face_align.norm_crop(PHOTO, points)
    # insightface fits in float32 and is off by 1e-5 pixels, which moves few values, and by one level.
    differences = np.abs(aligned_face(PHOTO, points).astype(int) - expected)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 0.01


def test_outside_the_photo_is_black():
    assert not aligned_face(PHOTO, landmarks(0.0, 0.5, (-200, -200), 0.0)).any()


@pytest.mark.parametrize("points", [np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_landmarks_in_one_point_cannot_be_aligned(points):
    assert not are_spread(points)
