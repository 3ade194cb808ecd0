"""Who should be where, against what is there: the meter on faces of one gray whose cosines are known beforehand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from withanyone_pack.tests.gray_faces import (
    LEFT,
    RIGHT,
    GrayFaces,
    at_angle,
    direction,
    gray_image,
    person,
    placed,
)
from withanyone_pack.withanyone_core.meter.comparing import compare
from withanyone_pack.withanyone_core.meter.images.comparison import draw_comparison
from withanyone_pack.withanyone_core.meter.images.plot import draw_plot
from withanyone_pack.withanyone_core.meter.images.sheet import SCALE, scale_colour
from withanyone_pack.withanyone_core.meter.images.table import draw_table
from withanyone_pack.withanyone_core.meter.likeness import mean_likeness
from withanyone_pack.withanyone_core.meter.measuring import Meter, expected_box_px, judge_of
from withanyone_pack.withanyone_core.meter.numbers import comparison_numbers, numbers, pick_numbers
from withanyone_pack.withanyone_core.meter.picking import rank
from withanyone_pack.withanyone_core.metrics.case import CaseScores
from withanyone_pack.withanyone_core.metrics.summary import summarize
from withanyone_pack.withanyone_core.regions.layout import Layout, Mask, place_in_box, place_in_mask

# Ann's reference is axis 0, her other look (the truth) lies 0.5 away; Ben's are axes 2 and 3.
ANN, ANN_TRUE, BEN, BEN_TRUE, MIX, STRANGER = 40, 50, 80, 90, 120, 160
EMBEDDINGS = {
    ANN: 20 * at_angle(0.0, 0, 1),
    ANN_TRUE: 20 * at_angle(0.5, 0, 1),
    BEN: 20 * at_angle(0.0, 2, 3),
    BEN_TRUE: 20 * at_angle(0.5, 2, 3),
    MIX: 20 * at_angle(np.pi / 4, 0, 2),
    STRANGER: 20 * direction(0, 0, 0, 0, 1),
}
PEOPLE = person("Ann", EMBEDDINGS[ANN]), person("Ben", EMBEDDINGS[BEN])
FACES = placed(*PEOPLE)
TRUTH = gray_image(ANN_TRUE, BEN_TRUE)


def measured(*images, faces=FACES, analysis=None, **against):
    return Meter(faces, analysis or GrayFaces(EMBEDDINGS), **against).measure(images)


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


def test_scores_rank_images():
    found = measured(
        gray_image(ANN, 0),
        gray_image(ANN, BEN),
        gray_image(ANN_TRUE, BEN_TRUE),
        gray_image(MIX, MIX + 1),
        gray_image(0, 0),
    )
    assert [index for index, _ in rank(found.scores, "likeness")] == [1, 2, 0, 3, 4]
    with_truth = measured(gray_image(ANN, BEN), TRUTH, gray_image(0, 0), gray_image(ANN, BEN_TRUE), truth=[TRUTH])
    assert [index for index, _ in rank(with_truth.scores, "likeness")] == [1, 3, 0, 2]
    order = rank(with_truth.scores, "likeness minus copying")
    assert [index for index, _ in order] == [1, 3, 0, 2]
    assert order[0][1] == pytest.approx(2, abs=1e-3)
    assert order[-1][1] is None


def test_least_leakage_prefers_images_that_lost_nobody():
    found = measured(gray_image(0, 0), gray_image(ANN, 0), gray_image(MIX, BEN), gray_image(ANN, BEN))
    order = rank(found.scores, "least leakage")
    assert [index for index, _ in order] == [3, 2, 1, 0]
    assert order[1][1] == pytest.approx(-np.cos(np.pi / 4) / 2, abs=1e-6)


def test_equal_scores_keep_the_order_of_the_batch():
    found = measured(gray_image(0, 0), gray_image(ANN, BEN), gray_image(0, 0), gray_image(ANN, BEN))
    assert [index for index, _ in rank(found.scores, "likeness")] == [1, 3, 0, 2]


def test_scores_that_cannot_be_computed_are_refused():
    with pytest.raises(ValueError, match="needs something the people should look like besides their references"):
        rank(measured(gray_image(ANN, BEN)).scores, "likeness minus copying")
    with pytest.raises(ValueError, match="needs at least two people; only one is placed"):
        rank(measured(gray_image(ANN, 0), faces=FACES[:1]).scores, "least leakage")
    with pytest.raises(ValueError, match="The score is 'beauty'; expected one of likeness, "):
        rank(measured(gray_image(ANN, BEN)).scores, "beauty")


def test_numbers_can_be_computed_again_and_name_everybody():
    found = measured(gray_image(ANN, BEN), gray_image(BEN, 0), gray_image(0, 0), truth=[TRUTH])
    report = json.loads(json.dumps(numbers(found, seed=3), allow_nan=False))
    again = [CaseScores.from_json(line) for line in report["images"]]
    assert tuple(again) == found.scores
    assert summarize(again, seed=3).to_json() == report["summary"]
    assert report["people"] == ["1 Ann", "2 Ben"]
    assert report["likeness"][1]["face_of"]["1 Ann"]["2 Ben"] == pytest.approx(1, abs=1e-6)
    assert report["likeness"][1]["lost"] == ["2 Ben"]
    assert report["compared_with"] == "truth"
    assert [item["person"] for item in report["images"][0]["identities"]] == ["Ann", "Ben"]


def test_people_of_one_name_stay_apart():
    twins = placed(person("Ann", EMBEDDINGS[ANN]), person("Ann", EMBEDDINGS[BEN]))
    report = numbers(measured(gray_image(ANN, BEN), faces=twins))
    assert list(report["likeness"][0]["face_of"]) == ["1 Ann", "2 Ann"]


def test_picks_name_every_image():
    found = measured(gray_image(ANN, BEN), gray_image(0, 0))
    report = pick_numbers(found, "likeness", rank(found.scores, "likeness"), 1)
    assert report["kept"] == [0]
    assert [(line["rank"], line["index"], line["kept"]) for line in report["images"]] == [(1, 0, True), (2, 1, False)]
    assert report["images"][1]["lost"] == ["1 Ann", "2 Ben"]


def test_batches_of_one_length_are_compared_image_by_image():
    first = measured(gray_image(ANN, BEN), gray_image(MIX, BEN))
    second = measured(gray_image(MIX, BEN), gray_image(MIX, BEN))
    rows = {row.metric: row for row in compare(first, second)}
    assert set(rows) == {"sim_ref", "leakage"}
    assert rows["sim_ref"].paired
    assert rows["sim_ref"].change.mean == pytest.approx((np.cos(np.pi / 4) - 1) / 4, abs=1e-6)
    assert rows["sim_ref"].change.high <= 0
    longer = measured(gray_image(ANN, BEN), gray_image(ANN, BEN), gray_image(0, 0))
    assert not {row.metric: row for row in compare(first, longer)}["sim_ref"].paired
    assert compare(first, longer, seed=1) == compare(first, longer, seed=1)
    single = measured(gray_image(ANN, BEN))
    (likeness, _) = compare(single, single)
    assert likeness.change.mean == 0
    assert likeness.change.low is None


def test_a_metric_that_a_image_lacks_is_not_paired():
    first = measured(gray_image(ANN, BEN), gray_image(0, 0), truth=[TRUTH])
    second = measured(gray_image(ANN, BEN), gray_image(ANN, BEN), truth=[TRUTH])
    rows = {row.metric: row for row in compare(first, second)}
    assert rows["sim_gt"].paired
    assert not rows["copy_paste"].paired
    assert rows["copy_paste"].first.n_missing == 1
    exchanged = measured(gray_image(0, 0), gray_image(ANN, BEN), truth=[TRUTH])
    assert not {row.metric: row for row in compare(first, exchanged)}["copy_paste"].paired


def test_comparisons_are_reported_with_both_batches():
    batches = measured(gray_image(ANN, BEN)), measured(gray_image(0, 0))
    report = comparison_numbers(("old", "new"), batches, compare(*batches, seed=5), 5)
    json.dumps(report, allow_nan=False)
    assert report["seed"] == report["batches"][0]["summary"]["seed"] == 5
    assert [batch["name"] for batch in report["batches"]] == ["old", "new"]
    assert report["metrics"]["sim_ref"]["second_minus_first"]["mean"] == pytest.approx(-1, abs=1e-6)
    assert report["metrics"]["leakage"]["second"] is None


def test_the_mean_matrix_leaves_lost_faces_out():
    found = measured(gray_image(ANN, 0), gray_image(MIX, BEN))
    assert np.allclose(mean_likeness(found.scores)[0], [(1 + np.cos(np.pi / 4)) / 2, np.cos(np.pi / 4) / 2], atol=1e-6)
    assert np.allclose(mean_likeness(found.scores)[1], [0, 1], atol=1e-6)
    assert mean_likeness(measured(gray_image(ANN, 0)).scores)[1] == (None, None)


CROPS = [gray_image(ANN), gray_image(BEN)]


def table(*images, **choices):
    found = measured(*images, **choices)
    return draw_table(found, images, CROPS[: len(found.people)])


def has(image, colour):
    return bool((image == np.array(colour, np.uint8)).all(-1).any())


def test_the_table_shows_likeness_loss_and_leakage():
    red = (255, 92, 92)
    fine, lost, leaking = (table(gray_image(*levels)) for levels in ((ANN, BEN), (STRANGER, ANN, 0, 0), (BEN, ANN)))
    assert has(fine, scale_colour(1 / (1 + 1e-7) - 1e-7))
    assert (fine == red).all(-1).sum() < (lost == red).all(-1).sum()
    assert (fine == red).all(-1).sum() < (leaking == red).all(-1).sum()
    assert table(gray_image(ANN, BEN), truth=[TRUTH]).shape[1] > fine.shape[1]


def test_the_table_marks_a_wrong_number_of_faces():
    right, wrong = table(gray_image(ANN, 0), faces=FACES[:1]), table(gray_image(ANN, BEN), faces=FACES[:1])
    assert not has(right, (255, 92, 92))
    assert has(wrong, (255, 92, 92))


def test_tables_grow_with_images_and_end():
    heights = [table(*[gray_image(ANN, BEN)] * count).shape[0] for count in (1, 2, 40, 41)]
    assert heights[1] - heights[0] == 104
    assert heights[3] - heights[2] < 40


def test_the_footer_says_who_judged():
    trained, other = (
        table(gray_image(ANN, BEN), analysis=GrayFaces(EMBEDDINGS, name))
        for name in ("antelopev2/glintr100.onnx", "mine/other.onnx")
    )
    assert trained.shape == other.shape
    assert not np.array_equal(trained[-80:], other[-80:])


def test_plots_of_every_kind_can_be_drawn():
    many = [gray_image(ANN, BEN)] * 30
    for found in (
        measured(gray_image(ANN, BEN)),
        measured(gray_image(0, 0)),
        measured(gray_image(ANN, 0), gray_image(0, 0), truth=[TRUTH]),
        measured(*many, truth=[TRUTH]),
        measured(*many),
        measured(gray_image(ANN, 0), faces=FACES[:1]),
    ):
        assert draw_plot(found).dtype == np.uint8
    plain, copied = measured(gray_image(ANN, BEN)), measured(gray_image(ANN, BEN), truth=[TRUTH])
    assert not np.array_equal(draw_plot(plain), draw_plot(copied))


def test_comparisons_of_every_kind_can_be_drawn():
    for first, second in (
        (measured(gray_image(ANN, BEN)), measured(gray_image(0, 0))),
        (
            measured(gray_image(ANN, BEN), truth=[TRUTH]),
            measured(gray_image(0, 0), gray_image(ANN, BEN), truth=[TRUTH]),
        ),
    ):
        chart = draw_comparison(("a" * 200, "B"), (first, second), compare(first, second, resamples=100))
        assert chart.shape[1] == 1024


def test_long_names_and_faces_at_the_edge_can_be_drawn():
    long = placed(person("Anna " * 40, EMBEDDINGS[ANN]), person("", EMBEDDINGS[BEN]))
    assert table(gray_image(ANN, BEN), faces=long).shape == table(gray_image(ANN, BEN)).shape


def test_colours_of_cosines():
    assert scale_colour(-0.5) == scale_colour(0) == SCALE[0]
    assert scale_colour(1.2) == scale_colour(1) == SCALE[-1]
    assert scale_colour(0.5) == SCALE[2]
