import json

import numpy as np
import pytest
from scipy import stats
from withanyone_pack.tests.metrics.made import case, image, people
from withanyone_pack.withanyone_core.metrics.case import METRICS, CaseScores
from withanyone_pack.withanyone_core.metrics.scoring import score_case
from withanyone_pack.withanyone_core.metrics.summary import (
    difference,
    judges_mean,
    legacy_statistic,
    statistic,
    summarize,
)

VALUES = np.random.default_rng(5).normal(0.4, 0.1, 60)


def some_scores(count=6, legacy=False, noise=0.5, seed=0):
    return [
        score_case(case(3, name=f"case {index}", generated=image(people(3), noise, seed=seed + index)), legacy)
        for index in range(count)
    ]


def test_the_interval_agrees_with_scipys_bootstrap():
    found = statistic(list(VALUES), seed=1)
    assert found.mean == pytest.approx(VALUES.mean(), abs=1e-15)
    other = stats.bootstrap((VALUES,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    assert found.low == pytest.approx(other.low, abs=2e-3)
    assert found.high == pytest.approx(other.high, abs=2e-3)


def test_a_seed_gives_the_same_digits_in_any_order_and_another_seed_others():
    groups = [f"g{index // 3}" for index in range(60)]
    turned = np.random.default_rng(3).permutation(60)
    first = statistic(list(VALUES), groups, seed=4)
    assert statistic(list(VALUES), groups, seed=4) == first
    assert statistic([VALUES[index] for index in turned], [groups[index] for index in turned], seed=4) == first
    assert statistic(list(VALUES), groups, seed=5) != first


def test_missing_values_are_left_out_and_counted():
    found = statistic([0.2, None, 0.4, None])
    assert (found.mean, found.n, found.n_missing) == (pytest.approx(0.3), 2, 2)
    assert statistic([None, None]) is None
    assert statistic([]) is None


def test_one_group_has_no_interval():
    assert statistic([0.5]).low is None
    assert statistic([0.4, 0.6], ["same", "same"]).high is None


def test_images_of_one_prompt_are_resampled_together():
    repeated = np.repeat(VALUES[:10], 10)
    apart = statistic(list(repeated))
    together = statistic(list(repeated), [str(index // 10) for index in range(100)])
    assert together.high - together.low > 2.5 * (apart.high - apart.low)


def test_groups_of_different_sizes_count_by_their_images():
    """Two groups, of 1 and 3 images: a resample is one of them alone or both, so the interval is known."""
    found = statistic([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"])
    assert (found.mean, found.low, found.high) == (0.25, 0.0, 1.0)
    same = statistic([2.0] * 4, ["a", "b", "b", "b"])
    assert (same.mean, same.low, same.high) == (2.0, 2.0, 2.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(6)
    inside = 0
    for trial in range(200):
        found = statistic(list(random.normal(0.3, 0.1, 50)), seed=trial, resamples=500)
        inside += found.low <= 0.3 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_every_summary_comes_again_from_the_lines():
    for legacy in (False, True):
        scores = some_scores(legacy=legacy)
        read = [CaseScores.from_json(json.loads(json.dumps(score.to_json()))) for score in scores]
        assert summarize(read, seed=3, legacy=legacy) == summarize(scores, seed=3, legacy=legacy)


def test_the_counts():
    who = people(3)
    scores = [
        *some_scores(2),
        score_case(case(3, name="lost", generated=image(who[:1]))),
        score_case(case(3, name="extra", generated=image(people(5)))),
        score_case(case(3, name="no truth", truth=None)),
    ]
    summary = summarize(scores)
    assert (summary.images, summary.groups) == (5, 5)
    assert (summary.expected_faces, summary.found_faces, summary.extra_faces) == (15, 13, 2)
    assert summary.detection_rate == pytest.approx(13 / 15)
    assert summary.count_rate == pytest.approx(3 / 5)
    assert (summary.metrics["sim_gt"].n, summary.metrics["sim_gt"].n_missing) == (4, 1)
    assert summary.metrics["sim_gt"].mean == pytest.approx(np.mean([score.sim_gt for score in scores[:4]]))
    assert json.loads(json.dumps(summary.to_json()))["metrics"].keys() == set(METRICS)


def test_legacy_summaries_trim():
    scores = some_scores(8, legacy=True)
    summary = summarize(scores, legacy=True)
    assert summary.metrics["sim_gt"] == legacy_statistic([score.sim_gt for score in scores])
    assert summary.detection_rate is None


def test_trimming_keeps_at_least_half_of_any_list():
    random = np.random.default_rng(7)
    for size in (1, 2, 3, 4, 5, 9, 40):
        for _ in range(50):
            values = random.standard_cauchy(size) ** 3
            assert legacy_statistic(list(values)).outliers_percent <= 50
    assert legacy_statistic([None]) is None


def test_nothing_and_both_arithmetics_at_once_are_refused():
    with pytest.raises(ValueError, match="no image to summarize"):
        summarize([])
    with pytest.raises(ValueError, match="cannot be mixed"):
        summarize(some_scores(1) + some_scores(1, legacy=True))
    with pytest.raises(ValueError, match="cannot be mixed"):
        summarize(some_scores(1), legacy=True)


def test_judges_are_averaged_image_by_image():
    first, second = some_scores(3), some_scores(3, noise=0.9)[::-1]
    values, groups = judges_mean([first, second], "sim_gt")
    assert groups == ["case 0", "case 1", "case 2"]
    assert values[0] == pytest.approx((first[0].sim_gt + second[2].sim_gt) / 2)
    blind = [score_case(case(3, name=score.name, truth=None)) for score in first]
    assert judges_mean([first, blind], "sim_gt")[0] == [None] * 3
    with pytest.raises(ValueError, match="same images"):
        judges_mean([first, second[:2]], "sim_gt")


def test_a_difference_is_paired_where_the_images_are_the_same():
    better, worse = some_scores(12, noise=0.3), some_scores(12, noise=0.6)
    found = difference(worse, better, "sim_gt")
    assert found.mean == pytest.approx(np.mean([score.sim_gt for score in better]) - np.mean([s.sim_gt for s in worse]))
    assert 0 < found.low < found.mean < found.high
    assert (found.n, found.n_missing) == (12, 0)
    unpaired = difference(worse, some_scores(13, noise=0.3), "sim_gt")
    assert (unpaired.n, unpaired.n_missing) == (25, 0)
    assert 0 < unpaired.low < unpaired.mean < unpaired.high
    assert difference(worse, better, "sim_gt") == found
    assert difference([score_case(case(3, truth=None))], better, "sim_gt") is None
