"""Who should be where, against what is there: the meter on faces of one gray whose cosines are known beforehand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from withanyone_pack.tests.gray_faces import (
    LEFT,
    RIGHT,
    GrayFaces,
    direction,
    gray_image,
    person,
    placed,
)
from withanyone_pack.tests.metrics.gray_people import (
    ANN,
    ANN_TRUE,
    BEN,
    BEN_TRUE,
    EMBEDDINGS,
    FACES,
    PEOPLE,
    STRANGER,
    TRUTH,
    measured,
)
from withanyone_pack.withanyone_core.meter.measuring import Meter, expected_box_px, judge_of
from withanyone_pack.withanyone_core.regions.layout import Layout, Mask, place_in_box, place_in_mask


def test_boxes_say_whose_face_is_whose():
    right, swapped = measured(gray_image(ANN, BEN), gray_image(BEN, ANN)).scores
    assert right.method == "boxes"
    assert right.sim_ref == pytest.approx(1, abs=1e-6)
    assert right.leakage == pytest.approx(0, abs=1e-6)
    assert swapped.sim_ref == pytest.approx(0, abs=1e-6)
    assert swapped.leakage == pytest.approx(1, abs=1e-6)
    assert [item.person for item in swapped.identities] == ["Ann", "Ben"]
    assert np.allclose(swapped.likeness_ref, [[0, 1], [1, 0]], atol=1e-6)


def test_boxes_are_scaled_to_each_image():
    small, large = measured(gray_image(ANN, BEN, side_px=16)), measured(gray_image(ANN, BEN, side_px=256))
    assert small.scores[0].found == large.scores[0].found == 2
    assert large.boxes_px[0] == ((64, 64, 192, 192), (320, 64, 448, 192))


def test_a_mask_is_expected_around_what_is_masked():
    coverage = torch.zeros(10, 20)
    coverage[2:5, 4:8] = 1
    (face,) = place_in_mask(PEOPLE[0], Mask(coverage))
    assert expected_box_px(face, 200, 100) == (40, 20, 80, 50)


def test_copying_shows_with_a_truth():
    pasted, retaken, between = measured(gray_image(ANN, BEN), TRUTH, gray_image(ANN, BEN_TRUE), truth=[TRUTH]).scores
    assert pasted.copy_paste == pytest.approx(1, abs=1e-3)
    assert retaken.copy_paste == pytest.approx(-1, abs=1e-3)
    assert [item.copy_paste for item in between.identities] == pytest.approx([1, -1], abs=1e-3)
    assert retaken.sim_gt == pytest.approx(1, abs=1e-6)
    assert pasted.sim_gt == pytest.approx(np.cos(0.5), abs=1e-6)


def test_each_image_may_have_a_truth_of_its_own():
    images = gray_image(ANN, BEN), gray_image(ANN, BEN)
    truths = [TRUTH, gray_image(ANN, BEN)]
    assert [score.sim_gt for score in measured(*images, truth=truths).scores] == pytest.approx([np.cos(0.5), 1])
    with pytest.raises(ValueError, match="truth holds 2 images and images 1; expected one truth for all, or one for"):
        measured(images[0], truth=truths)


def test_second_photos_stand_for_the_truth_in_the_order_of_the_people():
    found = measured(gray_image(ANN, BEN_TRUE), second_photos=[gray_image(ANN_TRUE), gray_image(BEN_TRUE)])
    with_truth = measured(gray_image(ANN, BEN_TRUE), truth=[TRUTH])
    assert found.against == "second photos"
    assert replace(found.scores[0], truth_faces=2) == replace(with_truth.scores[0], truth_faces=2)
    exchanged = measured(gray_image(ANN, BEN), second_photos=[gray_image(BEN_TRUE), gray_image(ANN_TRUE)])
    assert exchanged.scores[0].sim_gt == pytest.approx(0, abs=1e-6)


def test_second_photos_without_and_with_several_faces_are_reported():
    found = measured(gray_image(ANN, BEN), second_photos=[gray_image(0, 0), gray_image(BEN_TRUE, STRANGER)])
    ann, ben = found.scores[0].identities
    assert ann.sim_gt is None
    assert ann.copy_paste is None
    assert ben.copy_paste == pytest.approx(1, abs=1e-3)
    assert found.notes == (
        "The second photo of Ann shows 0 faces; nothing can be compared with it.",
        "The second photo of Ben shows 2 faces; the highest score counts.",
    )
    nobody = measured(gray_image(ANN, BEN), second_photos=[gray_image(0), gray_image(0)])
    assert nobody.scores[0].sim_gt is None


def test_photos_that_are_not_as_many_as_people_are_refused():
    with pytest.raises(ValueError, match="second_photos holds 3 photos for 2 people; expected one of each"):
        measured(gray_image(ANN, BEN), second_photos=[gray_image(ANN)] * 3)
    with pytest.raises(ValueError, match="Both truth and second_photos are connected"):
        measured(gray_image(ANN, BEN), truth=[TRUTH], second_photos=[gray_image(ANN), gray_image(BEN)])


def test_somebody_of_weight_0_is_not_expected():
    layout = Layout((LEFT, RIGHT), 128, 64)
    faces = place_in_box(PEOPLE[1], layout, 1, 1.0, place_in_box(PEOPLE[0], layout, 2, 0.0))
    found = measured(gray_image(BEN, 0), faces=faces)
    assert found.people == ("1 Ben",)
    assert found.scores[0].lost == ()
    with pytest.raises(ValueError, match="Nobody is expected: no face is placed, or all have the weight 0"):
        measured(gray_image(BEN, 0), faces=faces[:1])
    with pytest.raises(ValueError, match="Nobody is expected"):
        measured(gray_image(BEN, 0), faces=())


def test_no_face_and_more_faces_than_people():
    found = measured(gray_image(0, 0), gray_image(ANN, STRANGER), gray_image(ANN, BEN), truth=[TRUTH], faces=FACES[:1])
    nobody, with_stranger, with_ben = found.scores
    assert nobody.lost == (0,)
    assert (nobody.sim_ref, nobody.sim_gt, nobody.copy_paste) == (0.0, 0.0, None)
    assert found.boxes_px[0] == (None,)
    assert with_stranger.extra_faces
    assert with_ben.generated == 2
    assert with_ben.expected == 1


def test_a_image_is_looked_at_once():
    analysis, looked = GrayFaces(EMBEDDINGS), []
    meter = Meter(FACES, analysis, truth=[TRUTH], looked=lambda: looked.append(1))
    meter.measure([gray_image(ANN, BEN), gray_image(BEN, ANN), TRUTH])
    meter.measure([gray_image(ANN, BEN)])
    assert analysis.asked == len(looked) == 3


def test_other_recognizers_see_the_crop():
    crop = torch.from_numpy(np.pad(gray_image(ANN, side_px=256), ((128, 128), (128, 128), (0, 0)))).float() / 255
    ann = person("Ann", 20 * direction(0, 0, 0, 0, 0, 1), face_model="antelopev2/glintr100.onnx", crop=crop)
    found = measured(gray_image(ANN, 0), faces=placed(ann), analysis=GrayFaces(EMBEDDINGS, "buffalo_l/w600k_r50.onnx"))
    assert found.scores[0].sim_ref == pytest.approx(1, abs=1e-6)
    assert found.notes == (
        "Ann was made with antelopev2/glintr100.onnx; compared with the face of the crop, seen by "
        "buffalo_l/w600k_r50.onnx.",
    )
    same = measured(gray_image(ANN, 0), faces=placed(ann), analysis=GrayFaces(EMBEDDINGS, "antelopev2/glintr100.onnx"))
    assert same.scores[0].sim_ref == pytest.approx(0, abs=1e-6)
    assert same.notes == ()


def test_of_a_crop_the_middle_face_counts_and_an_empty_one_is_reported():
    crop = torch.from_numpy(np.pad(gray_image(ANN, BEN, STRANGER), ((64, 64), (0, 0), (0, 0)))).float() / 255
    analysis = GrayFaces(EMBEDDINGS, "buffalo_l/w600k_r50.onnx")
    ben = person("Ben", EMBEDDINGS[ANN], face_model="other.onnx", crop=crop)
    assert measured(gray_image(BEN, 0), faces=placed(ben), analysis=analysis).scores[0].sim_ref == pytest.approx(1)
    nobody = person("Ann", EMBEDDINGS[ANN], face_model="other.onnx")
    found = measured(gray_image(ANN, 0), faces=placed(nobody), analysis=analysis).scores[0]
    assert found.sim_ref is None
    assert any("The reference of person 1 (Ann) shows 0 faces" in note for note in found.notes)


def test_who_judges_is_reported_by_the_recognizer():
    assert judge_of(GrayFaces({}, "antelopev2/glintr100.onnx")).trained_with
    assert not judge_of(GrayFaces({}, "buffalo_l/w600k_r50.onnx")).trained_with
    assert judge_of(GrayFaces({}, "mine/other.onnx")).name == "mine/other.onnx"
    assert judge_of(object()).name == "a recognizer without a name"


def test_embeddings_that_are_none_are_refused_with_the_image():
    broken = GrayFaces(EMBEDDINGS | {STRANGER: np.full(512, np.nan, np.float32)})
    with pytest.raises(ValueError, match=r"face 2 in the generated image of image 2 has numbers that are not"):
        measured(gray_image(ANN, BEN), gray_image(ANN, STRANGER), analysis=broken)


def test_other_proportions_than_the_layouts_are_reported():
    faces = place_in_box(PEOPLE[0], Layout((LEFT,), 128, 128), 1)
    assert "of other proportions than the layout (128 x 128)" in measured(gray_image(ANN, 0), faces=faces).notes[0]
    faces = place_in_box(PEOPLE[0], Layout((LEFT,), 256, 128), 1)
    assert measured(gray_image(ANN, 0), faces=faces).notes == ()
