"""Who should be where, against what is there: the meter on painted faces whose cosines are known beforehand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from withanyone_pack.tests.painted_faces import (
    LEFT,
    RIGHT,
    PaintedFaces,
    at_angle,
    direction,
    painted,
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
VECTORS = {
    ANN: 20 * at_angle(0.0, 0, 1),
    ANN_TRUE: 20 * at_angle(0.5, 0, 1),
    BEN: 20 * at_angle(0.0, 2, 3),
    BEN_TRUE: 20 * at_angle(0.5, 2, 3),
    MIX: 20 * at_angle(np.pi / 4, 0, 2),
    STRANGER: 20 * direction(0, 0, 0, 0, 1),
}
PEOPLE = person("Ann", VECTORS[ANN]), person("Ben", VECTORS[BEN])
FACES = placed(*PEOPLE)
TRUTH = painted(ANN_TRUE, BEN_TRUE)


def measured(*images, faces=FACES, analysis=None, **against):
    return Meter(faces, analysis or PaintedFaces(VECTORS), **against).measure(images)


def test_boxes_say_whose_face_is_whose():
    right, swapped = measured(painted(ANN, BEN), painted(BEN, ANN)).scores
    assert right.method == "boxes"
    assert right.sim_ref == pytest.approx(1, abs=1e-6)
    assert right.leakage == pytest.approx(0, abs=1e-6)
    assert swapped.sim_ref == pytest.approx(0, abs=1e-6)
    assert swapped.leakage == pytest.approx(1, abs=1e-6)
    assert [item.person for item in swapped.identities] == ["Ann", "Ben"]
    assert np.allclose(swapped.likeness_ref, [[0, 1], [1, 0]], atol=1e-6)


def test_boxes_are_scaled_to_each_image():
    small, large = measured(painted(ANN, BEN, side_px=16)), measured(painted(ANN, BEN, side_px=256))
    assert small.scores[0].found == large.scores[0].found == 2
    assert large.boxes_px[0] == ((64, 64, 192, 192), (320, 64, 448, 192))


def test_a_mask_is_expected_around_what_is_painted():
    coverage = torch.zeros(10, 20)
    coverage[2:5, 4:8] = 1
    (face,) = place_in_mask(PEOPLE[0], Mask(coverage))
    assert expected_box_px(face, 200, 100) == (40, 20, 80, 50)


def test_copying_shows_with_a_truth():
    pasted, painted_anew, between = measured(painted(ANN, BEN), TRUTH, painted(ANN, BEN_TRUE), truth=[TRUTH]).scores
    assert pasted.copy_paste == pytest.approx(1, abs=1e-3)
    assert painted_anew.copy_paste == pytest.approx(-1, abs=1e-3)
    assert [item.copy_paste for item in between.identities] == pytest.approx([1, -1], abs=1e-3)
    assert painted_anew.sim_gt == pytest.approx(1, abs=1e-6)
    assert pasted.sim_gt == pytest.approx(np.cos(0.5), abs=1e-6)


def test_each_image_may_have_a_truth_of_its_own():
    images = painted(ANN, BEN), painted(ANN, BEN)
    truths = [TRUTH, painted(ANN, BEN)]
    assert [score.sim_gt for score in measured(*images, truth=truths).scores] == pytest.approx([np.cos(0.5), 1])
    with pytest.raises(ValueError, match="truth holds 2 images and images 1; expected one truth for all, or one for"):
        measured(images[0], truth=truths)


def test_second_photos_stand_for_the_truth_in_the_order_of_the_people():
    found = measured(painted(ANN, BEN_TRUE), second_photos=[painted(ANN_TRUE), painted(BEN_TRUE)])
    with_truth = measured(painted(ANN, BEN_TRUE), truth=[TRUTH])
    assert found.against == "second photos"
    assert replace(found.scores[0], truth_faces=2) == replace(with_truth.scores[0], truth_faces=2)
    exchanged = measured(painted(ANN, BEN), second_photos=[painted(BEN_TRUE), painted(ANN_TRUE)])
    assert exchanged.scores[0].sim_gt == pytest.approx(0, abs=1e-6)


def test_second_photos_without_and_with_several_faces_are_told():
    found = measured(painted(ANN, BEN), second_photos=[painted(0, 0), painted(BEN_TRUE, STRANGER)])
    ann, ben = found.scores[0].identities
    assert ann.sim_gt is None
    assert ann.copy_paste is None
    assert ben.copy_paste == pytest.approx(1, abs=1e-3)
    assert found.notes == (
        "The second photo of Ann shows 0 faces; nothing can be compared with it.",
        "The second photo of Ben shows 2 faces; the highest score counts.",
    )
    nobody = measured(painted(ANN, BEN), second_photos=[painted(0), painted(0)])
    assert nobody.scores[0].sim_gt is None


def test_photos_that_are_not_as_many_as_people_are_refused():
    with pytest.raises(ValueError, match="second_photos holds 3 photos for 2 people; expected one of each"):
        measured(painted(ANN, BEN), second_photos=[painted(ANN)] * 3)
    with pytest.raises(ValueError, match="Both truth and second_photos are connected"):
        measured(painted(ANN, BEN), truth=[TRUTH], second_photos=[painted(ANN), painted(BEN)])


def test_somebody_of_weight_0_is_not_expected():
    layout = Layout((LEFT, RIGHT), 128, 64)
    faces = place_in_box(PEOPLE[1], layout, 1, 1.0, place_in_box(PEOPLE[0], layout, 2, 0.0))
    found = measured(painted(BEN, 0), faces=faces)
    assert found.people == ("1 Ben",)
    assert found.scores[0].lost == ()
    with pytest.raises(ValueError, match="Nobody is expected: no face is placed, or all have the weight 0"):
        measured(painted(BEN, 0), faces=faces[:1])
    with pytest.raises(ValueError, match="Nobody is expected"):
        measured(painted(BEN, 0), faces=())


def test_no_face_and_more_faces_than_people():
    found = measured(painted(0, 0), painted(ANN, STRANGER), painted(ANN, BEN), truth=[TRUTH], faces=FACES[:1])
    nobody, with_stranger, with_ben = found.scores
    assert nobody.lost == (0,)
    assert (nobody.sim_ref, nobody.sim_gt, nobody.copy_paste) == (0.0, 0.0, None)
    assert found.boxes_px[0] == (None,)
    assert with_stranger.extra_faces
    assert with_ben.generated == 2
    assert with_ben.expected == 1


def test_a_image_is_looked_at_once():
    analysis, looked = PaintedFaces(VECTORS), []
    meter = Meter(FACES, analysis, truth=[TRUTH], looked=lambda: looked.append(1))
    meter.measure([painted(ANN, BEN), painted(BEN, ANN), TRUTH])
    meter.measure([painted(ANN, BEN)])
    assert analysis.asked == len(looked) == 3


def test_other_recognizers_see_the_crop():
    crop = torch.from_numpy(np.pad(painted(ANN, side_px=256), ((128, 128), (128, 128), (0, 0)))).float() / 255
    ann = person("Ann", 20 * direction(0, 0, 0, 0, 0, 1), face_model="antelopev2/glintr100.onnx", crop=crop)
    found = measured(painted(ANN, 0), faces=placed(ann), analysis=PaintedFaces(VECTORS, "buffalo_l/w600k_r50.onnx"))
    assert found.scores[0].sim_ref == pytest.approx(1, abs=1e-6)
    assert found.notes == (
        "Ann was made with antelopev2/glintr100.onnx; compared with the face of the crop, seen by "
        "buffalo_l/w600k_r50.onnx.",
    )
    same = measured(painted(ANN, 0), faces=placed(ann), analysis=PaintedFaces(VECTORS, "antelopev2/glintr100.onnx"))
    assert same.scores[0].sim_ref == pytest.approx(0, abs=1e-6)
    assert same.notes == ()


def test_of_a_crop_the_middle_face_counts_and_an_empty_one_is_told():
    crop = torch.from_numpy(np.pad(painted(ANN, BEN, STRANGER), ((64, 64), (0, 0), (0, 0)))).float() / 255
    analysis = PaintedFaces(VECTORS, "buffalo_l/w600k_r50.onnx")
    ben = person("Ben", VECTORS[ANN], face_model="other.onnx", crop=crop)
    assert measured(painted(BEN, 0), faces=placed(ben), analysis=analysis).scores[0].sim_ref == pytest.approx(1)
    nobody = person("Ann", VECTORS[ANN], face_model="other.onnx")
    found = measured(painted(ANN, 0), faces=placed(nobody), analysis=analysis).scores[0]
    assert found.sim_ref is None
    assert any("The reference of person 1 (Ann) shows 0 faces" in note for note in found.notes)


def test_who_judges_is_told_by_the_recognizer():
    assert judge_of(PaintedFaces({}, "antelopev2/glintr100.onnx")).trained_with
    assert not judge_of(PaintedFaces({}, "buffalo_l/w600k_r50.onnx")).trained_with
    assert judge_of(PaintedFaces({}, "mine/other.onnx")).name == "mine/other.onnx"
    assert judge_of(object()).name == "a recognizer without a name"


def test_vectors_that_are_none_are_refused_with_the_image():
    broken = PaintedFaces(VECTORS | {STRANGER: np.full(512, np.nan, np.float32)})
    with pytest.raises(ValueError, match=r"face 2 in the generated image of image 2 has numbers that are not"):
        measured(painted(ANN, BEN), painted(ANN, STRANGER), analysis=broken)


def test_other_proportions_than_the_layouts_are_told():
    faces = place_in_box(PEOPLE[0], Layout((LEFT,), 128, 128), 1)
    assert "of other proportions than the layout (128 x 128)" in measured(painted(ANN, 0), faces=faces).notes[0]
    faces = place_in_box(PEOPLE[0], Layout((LEFT,), 256, 128), 1)
    assert measured(painted(ANN, 0), faces=faces).notes == ()


def test_scores_rank_images():
    found = measured(
        painted(ANN, 0), painted(ANN, BEN), painted(ANN_TRUE, BEN_TRUE), painted(MIX, MIX + 1), painted(0, 0)
    )
    assert [index for index, _ in rank(found.scores, "likeness")] == [1, 2, 0, 3, 4]
    with_truth = measured(painted(ANN, BEN), TRUTH, painted(0, 0), painted(ANN, BEN_TRUE), truth=[TRUTH])
    assert [index for index, _ in rank(with_truth.scores, "likeness")] == [1, 3, 0, 2]
    order = rank(with_truth.scores, "likeness minus copying")
    assert [index for index, _ in order] == [1, 3, 0, 2]
    assert order[0][1] == pytest.approx(2, abs=1e-3)
    assert order[-1][1] is None


def test_least_leakage_prefers_images_that_lost_nobody():
    found = measured(painted(0, 0), painted(ANN, 0), painted(MIX, BEN), painted(ANN, BEN))
    order = rank(found.scores, "least leakage")
    assert [index for index, _ in order] == [3, 2, 1, 0]
    assert order[1][1] == pytest.approx(-np.cos(np.pi / 4) / 2, abs=1e-6)


def test_equal_scores_keep_the_order_of_the_batch():
    found = measured(painted(0, 0), painted(ANN, BEN), painted(0, 0), painted(ANN, BEN))
    assert [index for index, _ in rank(found.scores, "likeness")] == [1, 3, 0, 2]


def test_scores_that_cannot_be_computed_are_refused():
    with pytest.raises(ValueError, match="needs something the people should look like besides their references"):
        rank(measured(painted(ANN, BEN)).scores, "likeness minus copying")
    with pytest.raises(ValueError, match="needs at least two people; only one is placed"):
        rank(measured(painted(ANN, 0), faces=FACES[:1]).scores, "least leakage")
    with pytest.raises(ValueError, match="The score is 'beauty'; expected one of likeness, "):
        rank(measured(painted(ANN, BEN)).scores, "beauty")


def test_numbers_can_be_computed_again_and_name_everybody():
    found = measured(painted(ANN, BEN), painted(BEN, 0), painted(0, 0), truth=[TRUTH])
    told = json.loads(json.dumps(numbers(found, seed=3), allow_nan=False))
    again = [CaseScores.from_json(line) for line in told["images"]]
    assert tuple(again) == found.scores
    assert summarize(again, seed=3).to_json() == told["summary"]
    assert told["people"] == ["1 Ann", "2 Ben"]
    assert told["likeness"][1]["face_of"]["1 Ann"]["2 Ben"] == pytest.approx(1, abs=1e-6)
    assert told["likeness"][1]["lost"] == ["2 Ben"]
    assert told["compared_with"] == "truth"
    assert [item["person"] for item in told["images"][0]["identities"]] == ["Ann", "Ben"]


def test_people_of_one_name_stay_apart():
    twins = placed(person("Ann", VECTORS[ANN]), person("Ann", VECTORS[BEN]))
    told = numbers(measured(painted(ANN, BEN), faces=twins))
    assert list(told["likeness"][0]["face_of"]) == ["1 Ann", "2 Ann"]


def test_picks_name_every_image():
    found = measured(painted(ANN, BEN), painted(0, 0))
    told = pick_numbers(found, "likeness", rank(found.scores, "likeness"), 1)
    assert told["kept"] == [0]
    assert [(line["rank"], line["index"], line["kept"]) for line in told["images"]] == [(1, 0, True), (2, 1, False)]
    assert told["images"][1]["lost"] == ["1 Ann", "2 Ben"]


def test_batches_of_one_length_are_compared_image_by_image():
    first = measured(painted(ANN, BEN), painted(MIX, BEN))
    second = measured(painted(MIX, BEN), painted(MIX, BEN))
    rows = {row.metric: row for row in compare(first, second)}
    assert set(rows) == {"sim_ref", "leakage"}
    assert rows["sim_ref"].paired
    assert rows["sim_ref"].change.mean == pytest.approx((np.cos(np.pi / 4) - 1) / 4, abs=1e-6)
    assert rows["sim_ref"].change.high <= 0
    longer = measured(painted(ANN, BEN), painted(ANN, BEN), painted(0, 0))
    assert not {row.metric: row for row in compare(first, longer)}["sim_ref"].paired
    assert compare(first, longer, seed=1) == compare(first, longer, seed=1)
    single = measured(painted(ANN, BEN))
    (likeness, _) = compare(single, single)
    assert likeness.change.mean == 0
    assert likeness.change.low is None


def test_a_metric_that_a_image_lacks_is_not_paired():
    first = measured(painted(ANN, BEN), painted(0, 0), truth=[TRUTH])
    second = measured(painted(ANN, BEN), painted(ANN, BEN), truth=[TRUTH])
    rows = {row.metric: row for row in compare(first, second)}
    assert rows["sim_gt"].paired
    assert not rows["copy_paste"].paired
    assert rows["copy_paste"].first.n_missing == 1
    exchanged = measured(painted(0, 0), painted(ANN, BEN), truth=[TRUTH])
    assert not {row.metric: row for row in compare(first, exchanged)}["copy_paste"].paired


def test_comparisons_are_told_with_both_batches():
    batches = measured(painted(ANN, BEN)), measured(painted(0, 0))
    told = comparison_numbers(("old", "new"), batches, compare(*batches, seed=5), 5)
    json.dumps(told, allow_nan=False)
    assert told["seed"] == told["batches"][0]["summary"]["seed"] == 5
    assert [batch["name"] for batch in told["batches"]] == ["old", "new"]
    assert told["metrics"]["sim_ref"]["second_minus_first"]["mean"] == pytest.approx(-1, abs=1e-6)
    assert told["metrics"]["leakage"]["second"] is None


def test_the_mean_matrix_leaves_lost_faces_out():
    found = measured(painted(ANN, 0), painted(MIX, BEN))
    assert np.allclose(mean_likeness(found.scores)[0], [(1 + np.cos(np.pi / 4)) / 2, np.cos(np.pi / 4) / 2], atol=1e-6)
    assert np.allclose(mean_likeness(found.scores)[1], [0, 1], atol=1e-6)
    assert mean_likeness(measured(painted(ANN, 0)).scores)[1] == (None, None)


CROPS = [painted(ANN), painted(BEN)]


def table(*images, **choices):
    found = measured(*images, **choices)
    return draw_table(found, images, CROPS[: len(found.people)])


def has(image, colour):
    return bool((image == np.array(colour, np.uint8)).all(-1).any())


def test_the_table_shows_likeness_loss_and_leakage():
    red = (255, 92, 92)
    fine, lost, leaking = (table(painted(*levels)) for levels in ((ANN, BEN), (STRANGER, ANN, 0, 0), (BEN, ANN)))
    assert has(fine, scale_colour(1 / (1 + 1e-7) - 1e-7))
    assert (fine == red).all(-1).sum() < (lost == red).all(-1).sum()
    assert (fine == red).all(-1).sum() < (leaking == red).all(-1).sum()
    assert table(painted(ANN, BEN), truth=[TRUTH]).shape[1] > fine.shape[1]


def test_the_table_marks_a_wrong_number_of_faces():
    right, wrong = table(painted(ANN, 0), faces=FACES[:1]), table(painted(ANN, BEN), faces=FACES[:1])
    assert not has(right, (255, 92, 92))
    assert has(wrong, (255, 92, 92))


def test_tables_grow_with_images_and_end():
    heights = [table(*[painted(ANN, BEN)] * count).shape[0] for count in (1, 2, 40, 41)]
    assert heights[1] - heights[0] == 104
    assert heights[3] - heights[2] < 40


def test_the_footer_says_who_judged():
    trained, other = (
        table(painted(ANN, BEN), analysis=PaintedFaces(VECTORS, name))
        for name in ("antelopev2/glintr100.onnx", "mine/other.onnx")
    )
    assert trained.shape == other.shape
    assert not np.array_equal(trained[-80:], other[-80:])


def test_plots_of_every_kind_can_be_drawn():
    many = [painted(ANN, BEN)] * 30
    for found in (
        measured(painted(ANN, BEN)),
        measured(painted(0, 0)),
        measured(painted(ANN, 0), painted(0, 0), truth=[TRUTH]),
        measured(*many, truth=[TRUTH]),
        measured(*many),
        measured(painted(ANN, 0), faces=FACES[:1]),
    ):
        assert draw_plot(found).dtype == np.uint8
    plain, copied = measured(painted(ANN, BEN)), measured(painted(ANN, BEN), truth=[TRUTH])
    assert not np.array_equal(draw_plot(plain), draw_plot(copied))


def test_comparisons_of_every_kind_can_be_drawn():
    for first, second in (
        (measured(painted(ANN, BEN)), measured(painted(0, 0))),
        (measured(painted(ANN, BEN), truth=[TRUTH]), measured(painted(0, 0), painted(ANN, BEN), truth=[TRUTH])),
    ):
        chart = draw_comparison(("a" * 200, "B"), (first, second), compare(first, second, resamples=100))
        assert chart.shape[1] == 1024


def test_long_names_and_faces_at_the_edge_can_be_drawn():
    long = placed(person("Anna " * 40, VECTORS[ANN]), person("", VECTORS[BEN]))
    assert table(painted(ANN, BEN), faces=long).shape == table(painted(ANN, BEN)).shape


def test_colours_of_cosines():
    assert scale_colour(-0.5) == scale_colour(0) == SCALE[0]
    assert scale_colour(1.2) == scale_colour(1) == SCALE[-1]
    assert scale_colour(0.5) == SCALE[2]
