"""What is made of the meter's scores: ranks, numbers, comparisons of two batches."""

import json

import numpy as np
import pytest
from withanyone_pack.tests.gray_faces import (
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
    MIX,
    TRUTH,
    measured,
)
from withanyone_pack.withanyone_core.meter.comparing import compare
from withanyone_pack.withanyone_core.meter.likeness import mean_likeness
from withanyone_pack.withanyone_core.meter.numbers import comparison_numbers, numbers, pick_numbers
from withanyone_pack.withanyone_core.meter.picking import rank
from withanyone_pack.withanyone_core.metrics.case import CaseScores
from withanyone_pack.withanyone_core.metrics.summary import summarize


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
