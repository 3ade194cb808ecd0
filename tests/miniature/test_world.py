"""The drawn world: who, how and where are three separate things, and what is said of an image is true of it."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from withanyone_pack.miniature.world import (
    DIRECTIONS,
    EXPRESSIONS,
    LAYOUTS,
    LIGHTS,
    MOST_WORDS,
    PLACES,
    SIDE_PX,
    SPOTS,
    TRAITS,
    WORDS,
    Look,
    Person,
    Placed,
    Scene,
    caption,
    draw_portrait,
    draw_scene,
    person_of,
    render,
    words,
)
from withanyone_pack.miniature.world.captions import Omitted
from withanyone_pack.miniature.world.scene import CELL_PX

ALONE = Scene((Placed(person_of(5), Look(), (0.5, 0.5), 0.5),), "park", "daylight", 3)


def scenes(number: int) -> list[Scene]:
    rng = np.random.default_rng(11)
    return [draw_scene(rng, [person_of(int(i)) for i in rng.integers(0, 10**6, 1 + k % 4)]) for k in range(number)]


@pytest.fixture(scope="module")
def drawn() -> list:
    """200 scenes with their images; small images, for their faces are fractions."""
    return [(scene, render(scene, 32, 32)) for scene in scenes(200)]


def dressed(**changes: object) -> Scene:
    return replace(ALONE, people=(replace(ALONE.people[0], look=replace(Look(), **changes)),))


def test_the_same_scene_is_the_same_pixels():
    scene = scenes(4)[3]
    assert np.array_equal(render(scene, SIDE_PX, SIDE_PX).pixels, render(scene, SIDE_PX, SIDE_PX).pixels)
    assert np.array_equal(person_of(7).traits, person_of(7).traits)
    assert not np.array_equal(person_of(7).traits, person_of(8).traits)


def test_an_image_is_rgb_of_the_size_asked_for():
    assert render(ALONE, 90, 70).pixels.shape == (70, 90, 3)
    assert render(ALONE, 90, 70).pixels.dtype == np.uint8


def test_every_face_is_in_the_middle_of_its_spot(drawn):
    spots = {spot.name: np.array(spot.box_px) for spot in SPOTS}
    for scene, image in drawn:
        assert tuple(placed.spot for placed in scene.people) in [
            tuple(spot.name for spot in layout) for layout in LAYOUTS[len(scene.people)]
        ]
        for placed, face in zip(scene.people, image.faces, strict=True):
            box, spot = np.array(face.box) * SIDE_PX, spots[placed.spot]
            assert 54 <= box[3] - box[1] <= 58
            assert (box[:2] >= spot[:2] + 5).all()
            assert (box[2:] <= spot[2:] - 5).all()


def test_spots_are_whole_cells_that_share_none_and_go_from_left_to_right():
    for layouts in LAYOUTS.values():
        for layout in layouts:
            cells = np.zeros((SIDE_PX, SIDE_PX), int)
            for left, top, right, bottom in (spot.box_px for spot in layout):
                assert not any(edge % CELL_PX for edge in (left, top, right, bottom))
                cells[top:bottom, left:right] += 1
            assert cells.max() == 1
            assert len({spot.column for spot in layout}) == len(layout)
            assert cells.sum() == len(layout) * (5 * CELL_PX) ** 2


def test_landmarks_lie_in_the_box_in_the_order_the_viewer_sees_them(drawn):
    for _, image in drawn:
        for face in image.faces:
            left, top, right, bottom = face.box
            x, y = face.landmarks.T
            assert face.landmarks.shape == (5, 2)
            assert face.landmarks.dtype == np.float32
            assert left < x.min() < x.max() < right
            assert top < y.min() < y.max() < bottom
            assert x[0] < x[1]
            assert x[3] < x[4]
            assert max(y[:2]) < y[2] < min(y[3:])


def test_the_eyes_are_where_the_landmarks_say():
    """The middle of an iris is dark, the white beside it is light."""
    image = render(dressed(), 480, 480)
    for x, y in image.faces[0].landmarks[:2] * 480:
        assert image.pixels[int(y), int(x)].mean() < 60


def test_a_turned_nose_moves_the_way_the_caption_says():
    noses = {}
    for yaw in (-30.0, 0.0, 30.0):
        scene = dressed(yaw=yaw)
        face = render(scene, 64, 64).faces[0]
        noses[scene.people[0].look.direction] = face.landmarks[2, 0] - (face.box[0] + face.box[2]) / 2
    assert tuple(noses) == DIRECTIONS
    assert noses["left"] < -0.04 < abs(noses["ahead"]) < 0.04 < noses["right"]


def test_any_size_shows_the_same_geometry():
    scene = scenes(4)[3]
    small, large = render(scene, 176, 176), render(scene, 528, 528)
    for one, other in zip(small.faces, large.faces, strict=True):
        assert np.allclose(one.box, other.box)
        assert np.allclose(one.landmarks, other.landmarks)
    shrunk = large.pixels.reshape(176, 3, 176, 3, 3).mean((1, 3))
    off_by_a_pixel = np.roll(shrunk, 1, (0, 1))
    assert np.abs(shrunk - small.pixels).mean() < 3.5 < np.abs(off_by_a_pixel - small.pixels).mean()


@pytest.mark.parametrize("trait", TRAITS)
def test_every_trait_shows(trait):
    images = []
    for value in (-1.0, 1.0):
        traits = np.zeros(len(TRAITS), np.float32)
        traits[TRAITS.index("glasses")] = 1  # their hue shows
        traits[TRAITS.index(trait)] = value
        placed = replace(ALONE.people[0], person=Person(traits))
        images.append(render(replace(ALONE, people=(placed,)), 96, 96).pixels.astype(float))
    assert (np.abs(images[0] - images[1]).max(2) > 20).sum() >= 6


@pytest.mark.parametrize(
    "changes",
    [{"expression": name} for name in EXPRESSIONS[1:]]
    + [{"yaw": -30.0}, {"pitch": 4.0}, {"roll": 4.0}, {"clothes": 0.9}],
)
def test_a_look_shows_and_leaves_the_person_alone(changes):
    before, after = render(ALONE, 96, 96), render(dressed(**changes), 96, 96)
    assert (np.abs(before.pixels.astype(int) - after.pixels).max(2) > 25).sum() > 40
    assert dressed(**changes).people[0].person is ALONE.people[0].person


@pytest.mark.parametrize(("part", "names"), [("place", PLACES), ("light", LIGHTS)])
def test_places_and_lights_differ_and_leave_the_faces_where_they_are(part, names):
    images = [render(replace(ALONE, **{part: name}), 64, 64) for name in names]
    for one, other in combinations(images, 2):
        assert np.abs(one.pixels.astype(float) - other.pixels).mean() > 8
        assert one.faces[0].box == other.faces[0].box


def test_a_caption_is_short_and_of_known_words():
    longest = 0
    for scene in scenes(400):
        assert set(words(caption(scene))) <= set(WORDS)
        longest = max(longest, len(words(caption(scene))))
    assert longest <= MOST_WORDS
    assert sorted(WORDS) == list(WORDS)


def test_a_caption_names_what_varies_unless_it_is_omitted():
    left = Placed(person_of(1), Look(yaw=30, expression="happy"), (0.23, 0.43), 0.3, "left")
    right = Placed(person_of(2), Look(expression="calm"), (0.77, 0.43), 0.3, "right")
    scene = Scene((left, right), "park", "sunset", 0)
    assert caption(scene) == "two people, park, sunset: left happy right, right calm ahead"
    assert caption(scene, Omitted(expressions=True)) == "two people, park, sunset: left right, right ahead"
    assert caption(scene, Omitted(expressions=True, directions=True)) == "two people, park, sunset: left, right"
    assert caption(scene, Omitted(people=True)) == "two people, park, sunset"


def test_a_portrait_is_one_large_face():
    rng = np.random.default_rng(2)
    for index in range(30):
        (face,) = render(draw_portrait(rng, person_of(index)), 32, 32).faces
        assert 0.45 <= face.box[3] - face.box[1] <= 0.6


def test_wrong_people_are_refused():
    with pytest.raises(ValueError, match="1 to 4 people, came 5"):
        draw_scene(np.random.default_rng(0), [person_of(0)] * 5)
    with pytest.raises(ValueError, match="each from -1 to 1"):
        Person(np.full(len(TRAITS), 1.5, np.float32))
