import numpy as np
import pytest
import torch
from withanyone_pack.withanyone_core.faces.portrait import Choices, identity_from_photos, mean_embedding
from withanyone_pack.withanyone_core.faces.preview import captioned_crop
from withanyone_pack.withanyone_core.faces.selection import cosines
from withanyone_pack.withanyone_core.identity import Face, Identity

RANDOM = np.random.default_rng(5)
SHAPE = (60, 200, 3)
MARK = [17, 203]  # of a photo's upright top left corner


def face(x1, size, score, seed=0):
    embedding = np.random.default_rng(seed).normal(size=512).astype(np.float32)
    return Face((x1, 10.0, x1 + size, 10.0 + size), score, np.zeros((5, 2), np.float32), embedding)


class Scripted:
    """Finds in the n-th photo (its top left level) the n-th list of faces, and nothing in photos that lie otherwise."""

    def __init__(self, *found):
        self.found = found
        self.asked = []

    def faces(self, photo):
        number, *mark = map(int, photo[0, 0])
        if mark != MARK:
            return ()
        self.asked.append(number)
        return tuple(self.found[number])


def photos(count):
    images = RANDOM.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    images[:, 0, 0, 0] = range(count)
    images[:, 0, 0, 1:] = MARK
    return tuple(images)


THREE = [face(150, 20, 0.9, 1), face(10, 30, 0.8, 2), face(70, 40, 0.7, 3)]


@pytest.mark.parametrize(
    ("choices", "x1", "number"),
    [
        (Choices(), 150, 3),
        (Choices("largest"), 70, 2),
        (Choices("left to right", 1), 10, 1),
        (Choices("left to right", 2), 70, 2),
        (Choices("left to right", 3), 150, 3),
    ],
)
def test_which_face(choices, x1, number):
    identity, (used,) = identity_from_photos(photos(1), Scripted(THREE), "Ann", choices)
    assert used.face.box_px[0] == x1
    assert (used.photo_number, used.face_number, used.face_count) == (1, number, 3)
    assert np.array_equal(identity.arcface.numpy(), used.face.embedding)
    assert identity.name == "Ann"
    assert identity.siglip is None
    assert f"face {number} of 3 from the left, score {used.face.score:.2f}" in used.description()


def test_exactly_one_accepts_one_and_refuses_more():
    _, (used,) = identity_from_photos(photos(1), Scripted([face(5, 20, 0.9)]), "Ann", Choices("exactly one"))
    assert "the only face" in used.description()
    words = r"Photo 1 \(200 x 60 pixels\) shows 3 faces \(score 0.90, 0.80, 0.70\), and which_face asks for exactly one"
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(1), Scripted(THREE), "Ann", Choices("exactly one"))


def test_more_to_the_right_than_there_are_faces():
    words = r"Face 4 from the left was asked for, but photo 1 \(200 x 60 pixels\) shows 3 faces .* face_index 1 to 3"
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(1), Scripted(THREE), "Ann", Choices("left to right", 4))


def test_unknown_rule():
    with pytest.raises(ValueError, match="which_face is 'prettiest'; expected one of best score, largest"):
        identity_from_photos(photos(1), Scripted(THREE), "Ann", Choices("prettiest"))


def test_crop_and_siglip_see_the_used_face():
    seen = []

    def siglip(crop):
        seen.append(crop)
        return torch.ones(4, 8)

    images = photos(1)
    identity, (used,) = identity_from_photos(images, Scripted(THREE), "Ann", Choices(), siglip)
    assert np.array_equal(seen[0], used.crop)
    assert torch.equal(identity.siglip, torch.ones(4, 8))
    assert identity.crop.shape == (512, 512, 3)
    assert np.array_equal((identity.crop * 255).round().numpy(), used.crop)
    assert captioned_crop(used).shape == (552, 512, 3)
    assert captioned_crop(used)[512:].max() == 255


def test_first_uses_the_first_photo_with_a_face_and_asks_no_further():
    analysis = Scripted([], [face(5, 20, 0.9, 1)], [face(5, 20, 0.9, 2)])
    identity, (used,) = identity_from_photos(photos(3), analysis, "Ann", Choices(no_face="skip"))
    assert used.photo_number == 2
    assert analysis.asked == [0, 1]
    assert np.array_equal(identity.arcface.numpy(), used.face.embedding)


def test_mean_keeps_the_mean_length_and_the_first_photo_s_look():
    calls = []
    analysis = Scripted([face(5, 20, 0.9, 1)], [], [face(5, 20, 0.9, 2)])
    choices = Choices(combine="mean", no_face="skip")
    identity, used = identity_from_photos(photos(3), analysis, "Ann", choices, lambda crop: calls.append(crop))
    one, two = (item.face.embedding for item in used)
    length = (np.linalg.norm(one) + np.linalg.norm(two)) / 2
    assert [item.photo_number for item in used] == [1, 3]
    assert float(identity.arcface.norm()) == pytest.approx(length, rel=1e-5)
    assert np.linalg.norm((one + two) / 2) < 0.8 * length  # what a plain mean would have lost
    direction = one / np.linalg.norm(one) + two / np.linalg.norm(two)
    cosine = identity.arcface.numpy() @ direction / (length * np.linalg.norm(direction))
    assert cosine == pytest.approx(1.0, abs=1e-5)
    assert len(calls) == 1
    assert np.array_equal(calls[0], used[0].crop)


def test_a_longer_embedding_weighs_no_more_in_the_mean():
    one, two = np.eye(512, dtype=np.float32)[:2] * [[30.0], [10.0]]
    mean = mean_embedding([one, two])
    assert mean[:2] == pytest.approx([20 / np.sqrt(2)] * 2)


def test_opposite_people_have_no_mean():
    with pytest.raises(ValueError, match="cancel each other out: they show different people"):
        mean_embedding([np.ones(512, np.float32), -np.ones(512, np.float32)])


def test_photo_without_a_face_stops_with_its_number_size_and_best_score():
    analysis = Scripted([face(5, 20, 0.9)], [])
    words = r"No face was found in photo 2 \(200 x 60 pixels\)\. Try a photo .* det_threshold .*Or set no_face to skip"
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(2), analysis, "Ann", Choices(combine="mean"))
    analysis.best_score = lambda photo: 0.314
    with pytest.raises(ValueError, match=r"pixels\); the best candidate scored 0.31\. Try"):
        identity_from_photos(photos(2), analysis, "Ann", Choices(combine="mean"))


@pytest.mark.parametrize(("turns", "words"), [(1, "90 degrees"), (2, "180 degrees"), (3, "270 degrees")])
def test_a_photo_on_its_side_is_told_from_one_without_a_face(turns, words):
    lying = (np.rot90(photos(1)[0], turns),)
    words = rf"No face was found in photo 1 .* when the photo is turned by {words} clockwise: turn it upright first"
    for choices in (Choices(), Choices(no_face="skip")):
        with pytest.raises(ValueError, match=words):
            identity_from_photos(lying, Scripted([face(5, 20, 0.9)]), "Ann", choices)
    with pytest.raises(ValueError, match=r"No face was found in photo 1 \(.*\)\. Try a photo"):
        identity_from_photos(lying, Scripted([]), "Ann", Choices())


def test_skipping_every_photo_is_an_error():
    words = r"None of the photos shows a face. No face was found in photo 1 .* No face was found in photo 2 .* Try"
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(2), Scripted([], []), "Ann", Choices(no_face="skip"))


def test_a_face_under_one_pixel_or_outside_is_none():
    analysis = Scripted([face(5, 0.6, 0.9), face(300, 20, 0.8), face(5, 20, 0.6)])
    _, (used,) = identity_from_photos(photos(1), analysis, "Ann", Choices())
    assert (used.face.score, used.face_count) == (0.6, 1)


def test_a_photo_whose_faces_are_all_under_one_pixel_says_so():
    analysis = Scripted([face(5, 0.6, 0.9), face(300, 20, 0.8)])
    words = (
        r"No face in photo 1 \(200 x 60 pixels\) is large enough: all are under one pixel or outside\. Try .* det_size"
    )
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(1), analysis, "Ann", Choices())


def test_a_small_face_is_used_with_a_warning(caplog):
    analysis = Scripted([face(5, 31, 0.9)], [face(5, 32, 0.9)])
    _, (small, large) = identity_from_photos(photos(2), analysis, "Ann", Choices(combine="mean"))
    words = "photo 1: the only face, score 0.90, 31 x 31 pixels, too small for a good likeness (under 32)"
    assert small.description() == words
    assert [record.getMessage() for record in caplog.records] == [f"Ann: {words}"]
    assert large.description().endswith("32 x 32 pixels")


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_useless_embedding_is_refused(value):
    broken = Face((5.0, 5.0, 40.0, 40.0), 0.9, np.zeros((5, 2)), np.full(512, value, np.float32))
    with pytest.raises(
        ValueError, match=r"no usable numbers for the face in photo 1 .* the recognizer's file is damaged"
    ):
        identity_from_photos(photos(1), Scripted([broken]), "Ann", Choices())


def known(seed, noise=0.0, **more):
    """A person whose embedding is that of `face(seed=seed)`, with noise times as much of something else."""
    embedding, other = (face(0, 1, 0, number).embedding for number in (seed, 99))
    return Identity("Ann", torch.from_numpy(embedding + noise * other), None, torch.zeros(512, 512, 3), **more)


@pytest.mark.parametrize(("seed", "x1"), [(1, 150), (2, 10), (3, 70)])
def test_the_face_like_a_given_identity(seed, x1):
    choices = Choices("like this identity", like=known(seed, noise=1.5))
    _, (used,) = identity_from_photos(photos(1), Scripted(THREE), "Ann again", choices)
    assert used.face.box_px[0] == x1


def test_likeness_ignores_the_length_of_embeddings():
    loud = Face((5.0, 5.0, 40.0, 40.0), 0.9, np.zeros((5, 2)), 1000 * face(0, 1, 0, 7).embedding)
    choices = Choices("like this identity", like=known(2))
    _, (used,) = identity_from_photos(photos(1), Scripted([loud, *THREE]), "Ann", choices)
    assert used.face.box_px[0] == 10


def test_nobody_alike_is_an_error_or_passed_over():
    like = known(2)
    analysis = Scripted([THREE[0]], THREE)
    words = (
        r"No face in photo 1 \(200 x 60 pixels\) is like Ann: the nearest of 1 face \(score 0.90\) has a cosine of "
        r"-?0\.\d\d and 0.20 is the least that passes. Try another photo of this person.*Or set no_face to skip"
    )
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(2), analysis, "Ann", Choices("like this identity", like=like))
    choices = Choices("like this identity", no_face="skip", like=like)
    _, (used,) = identity_from_photos(photos(2), analysis, "Ann", choices)
    assert used.photo_number == 2
    with pytest.raises(
        ValueError, match=r"None of the photos shows Ann. No face in photo 1 .* Try another photo of this"
    ):
        identity_from_photos(photos(1), analysis, "Ann", choices)


def test_an_embedding_that_is_no_direction_is_like_nobody():
    broken = Face((5.0, 5.0, 40.0, 40.0), 0.9, np.zeros((5, 2)), np.full(512, np.nan, np.float32))
    choices = Choices("like this identity", like=known(2))
    _, (used,) = identity_from_photos(photos(1), Scripted([broken, *THREE]), "Ann", choices)
    assert used.face.box_px[0] == 10


def test_no_direction_is_no_better_than_the_opposite():
    embedding = face(0, 1, 0, 1).embedding
    unusable = [np.full(512, np.nan, np.float32), np.zeros(512, np.float32), np.full(512, np.inf, np.float32)]
    assert cosines([*unusable, -embedding, 2 * embedding], embedding) == pytest.approx([-1, -1, -1, -1, 1])


def test_looking_for_somebody_needs_somebody_of_the_same_recognizer():
    with pytest.raises(ValueError, match='which_face is "like this identity", but no identity is connected to "like"'):
        identity_from_photos(photos(1), Scripted(THREE), "Ann", Choices("like this identity"))
    analysis = Scripted(THREE)
    analysis.model_name = "antelopev2/glintr100.onnx"
    words = (
        "of Ann was made by buffalo_l/w600k_r50.onnx, that of the photos by antelopev2/glintr100.onnx; such embeddings"
    )
    like = known(2, face_model="buffalo_l/w600k_r50.onnx")
    with pytest.raises(ValueError, match=words):
        identity_from_photos(photos(1), analysis, "Ann", Choices("like this identity", like=like))


def test_an_identity_knows_how_it_was_made():
    analysis = Scripted([face(5, 20, 0.9, 1)], [face(5, 20, 0.9, 2)])
    analysis.model_name = "antelopev2/glintr100.onnx"
    identity, used = identity_from_photos(photos(2), analysis, "Ann", Choices("largest", combine="mean"))
    assert identity.face_model == "antelopev2/glintr100.onnx"
    assert identity.made_from == "2 photos, face by largest, combined by mean"
    assert np.array_equal(identity.embeddings.numpy(), np.stack([item.face.embedding for item in used]))
