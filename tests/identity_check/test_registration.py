"""How far two faces are apart in pose, expression and light, on drawn people whose looks are known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from withanyone_pack.miniature.world import Look as Pose
from withanyone_pack.miniature.world import Placed, Scene, person_of, render
from withanyone_pack.withanyone_core.identity_check.appearance import Look, arrays_of, look_of, looks_in
from withanyone_pack.withanyone_core.identity_check.registration import (
    CLOSEST_PX,
    FARTHEST_PX,
    OTHER_TINT,
    Album,
    Reference,
)

SIDE = 160
POSE = Pose(yaw=3.0, pitch=-2.0, expression="happy")
OTHERS = (
    replace(POSE, yaw=-4.5, pitch=3.0),
    replace(POSE, yaw=30.0),
    replace(POSE, expression="calm"),
    replace(POSE, expression="surprised", yaw=-30.0),
)
PASTED_PX, OTHER_PX = 0.15, 0.18


def seen(pose, size=0.5, center=(0.5, 0.5), light="daylight", seed=0, side=SIDE, number=1_700_000):
    """A person's look as a detector sees it that strays by a pixel."""
    scene = Scene((Placed(person_of(number), pose, center, size),), "park", light, seed)
    image = render(scene, side, side)
    points = image.faces[0].landmarks * side + np.random.default_rng(seed).normal(0, side / SIDE, (5, 2))
    return look_of(image.pixels, points)


@pytest.fixture(scope="module")
def photo():
    return seen(POSE)


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_elsewhere_and_of_another_size_is_near(photo, seed):
    copy = seen(POSE, size=0.35, center=(0.35, 0.6), seed=10 + seed)
    assert Reference(photo).apart_px(copy) < PASTED_PX


@pytest.mark.parametrize("pose", OTHERS)
def test_another_pose_or_expression_is_far(photo, pose):
    assert Reference(photo).apart_px(seen(pose, size=0.35, center=(0.35, 0.6), seed=20)) > OTHER_PX


def test_a_copy_in_other_light_is_near(photo):
    for light in ("sunset", "moonlight", "neon"):
        assert Reference(photo).apart_px(seen(POSE, size=0.4, light=light, seed=30)) < PASTED_PX


def test_a_blurred_and_faint_copy_is_near(photo):
    gray = cv2.GaussianBlur(photo.gray, (0, 0), 0.8) // 2 + 40
    assert Reference(photo).apart_px(Look(gray, photo.tint)) < PASTED_PX


def test_light_speaks_for_a_copy_and_never_against_it():
    one, other = seen(POSE), seen(OTHERS[0], seed=40)
    reference = Reference(one)
    same, usual, extreme = (
        reference.apart_px(Look(other.gray, one.tint + np.float32([tint, 0, 0]))) for tint in (0, OTHER_TINT, 9)
    )
    assert same < 0.7 * usual
    assert extreme == usual


def test_the_same_look_is_nearest_and_nothing_is_farthest(photo):
    assert Reference(photo).apart_px(photo) == CLOSEST_PX
    nothing = Look(np.full_like(photo.gray, 90), photo.tint)
    assert Reference(photo).apart_px(nothing) == Reference(nothing).apart_px(photo) == FARTHEST_PX


def test_a_large_face_is_averaged_down_and_has_the_same_look(photo):
    assert Reference(photo).apart_px(seen(POSE, side=8 * SIDE)) < PASTED_PX


def test_an_album_knows_which_photo_was_copied():
    looks = [seen(pose, seed=50 + number) for number, pose in enumerate(OTHERS)]
    album = Album(looks)
    for number, pose in enumerate(OTHERS):
        place, apart_px = album.nearest(seen(pose, size=0.35, seed=60 + number))
        assert place == number
        assert apart_px < PASTED_PX
    assert (album.own_px() > OTHER_PX).all()
    assert album.own_px().shape == (4,)
    assert Album(looks[:1]).own_px().size == 0


def test_looks_are_kept_as_arrays(photo):
    assert looks_in(arrays_of([])) == ()
    (again,) = looks_in(arrays_of([photo]))
    assert np.array_equal(again.gray, photo.gray)
    assert np.array_equal(again.tint, photo.tint)
    assert sum(array.nbytes for array in arrays_of([photo]).values()) < 4200
