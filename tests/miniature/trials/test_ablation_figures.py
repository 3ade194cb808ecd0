"""Means, intervals, verdicts, the page and the plot, of made-up results."""

import numpy as np
import pytest
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.lab.ablation.estimates import Estimate, correlations, difference, estimate
from miniature.lab.ablation.paper import EXPECTATIONS, verdict
from miniature.lab.ablation.plot import draw_plot
from miniature.lab.ablation.report import BY_HAND, END_BY_HAND, markdown, remarks_of
from miniature.lab.ablation.results import results_of
from miniature.lab.ablation.variants import SEEDS, START, VARIANTS

IMAGES = 40
# Sim(GT), Sim(Ref) and copy-paste of each variant: pairs and negatives work as in the paper, alignment does not.
WORTH = {
    START: (0.2, 0.3, 0.30),
    "a": (0.30, 0.60, 0.40),
    "b": (0.30, 0.50, 0.20),
    "c": (0.25, 0.50, 0.20),
    "d63": (0.40, 0.50, 0.10),
    "d4096": (0.45, 0.60, 0.20),
}


COPIES = {START: 0.3, "a": 0.8, "b": 0.4, "c": 0.4, "d63": 0.3, "d4096": 0.5}  # of expressions and directions


def line(variant, seed, common="same", noise=0.05, sliders=(0.0, 0.5, 1.0), images=IMAGES):
    """A line of results whose numbers scatter round those of WORTH; further along the slider all of them grow."""
    rng = np.random.default_rng([seed, images])
    own, shift = rng.normal(0, 0.1, images), rng.normal(0, noise, (4, images))
    rows = []
    for slider in sliders:
        values = [value + (slider - 0.5) / 5 + own + moved for value, moved in zip(WORTH[variant], shift, strict=False)]
        measured = dict(zip(("sim_gt", "sim_ref", "copy_paste"), (each.tolist() for each in values), strict=True))
        copied = {name: [COPIES[variant], None] * (images // 2) for name in ("copied_expression", "copied_direction")}
        rows.append({"slider": slider, **measured, **copied, "found": [1.0] * images})
    shared = {"steps": 9, "batch": 8, "sampler_steps": 12, "start_words": "a start", "people": 5, "photos": 20}
    return {
        "case": f"{variant}_{seed}",
        "key": f"{common} {variant} {seed}",
        "common": common,
        "variant": variant,
        "seed": seed,
        "shared": shared,
        "slider": "resemblance",
        "usual": 0.5,
        "rows": rows,
        "machine": "a machine",
        "date": "2026-01-02",
        "truth_and_reference": [0.7] * images,
    }


@pytest.fixture
def lines():
    return [line(START, 0), *(line(variant.name, seed) for variant in VARIANTS for seed in SEEDS)]


def test_a_mean_and_its_interval():
    rng = np.random.default_rng(0)
    runs = {seed: [*rng.normal(0.5, 0.1, 400), None] for seed in range(3)}
    found = estimate(runs)
    known = np.concatenate([values[:-1] for values in runs.values()])
    assert found.value == pytest.approx(known.mean())
    # The same images in all runs would be three times the same; these are not.
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.04
    assert estimate({0: [None, None]}) is None


def test_seeds_that_disagree_lengthen_the_interval():
    alike = {seed: [0.5] * 200 for seed in range(3)}
    apart = {seed: [0.4 + 0.1 * seed] * 200 for seed in range(3)}
    assert estimate(alike).high - estimate(alike).low == pytest.approx(0)
    assert estimate(apart).high - estimate(apart).low > 0.1


def test_differences_are_of_the_same_images_and_seeds():
    rng = np.random.default_rng(1)
    first = {seed: list(rng.normal(0, 1, 100)) for seed in range(3)}
    second = {seed: [value + 0.02 for value in first[seed]] for seed in (1, 2)} | {7: [9.0] * 100}
    found = difference(first, second)
    assert found.value == pytest.approx(0.02)
    assert found.high - found.low < 1e-6
    assert found.sign == 1
    assert difference({0: [1.0]}, {1: [1.0]}) is None


def test_correlations_of_risk_and_copying():
    risks = [0.1 * number for number in range(12)]
    found = correlations(risks, [value**3 for value in risks])
    assert found["Spearman"].value == pytest.approx(1)
    assert 0.85 < found["Pearson"].value < 0.95
    assert found["Spearman"].low == pytest.approx(1)
    mixed = correlations(risks, [value * (-1) ** number for number, value in enumerate(risks)])
    assert mixed["Spearman"].low < 0 < mixed["Spearman"].high
    for sides in (([0.1, 0.2], [0.1, 0.2]), ([0.1, 0.1, 0.1], [1, 2, 3])):
        with pytest.raises(ValueError, match="at least three"):
            correlations(*sides)


@pytest.mark.parametrize(
    ("bounds", "published", "words"),
    [
        ((0.02, 0.08), 0.04, "agrees"),
        ((-0.08, -0.02), -0.078, "agrees"),
        ((-0.08, -0.02), 0.04, "differs: the other way"),
        ((-0.02, 0.08), 0.04, "indistinguishable from no change"),
        ((-0.02, 0.08), 0.002, "agrees: no change in either"),
        ((0.003, 0.007), -0.001, "agrees: no change in either"),
        ((0.02, 0.08), -0.001, "differs: a change where the paper has none"),
    ],
)
def test_verdicts(bounds, published, words):
    assert verdict(Estimate(sum(bounds) / 2, *bounds), published) == words
    assert verdict(None, published) == "not measured"


def test_the_papers_changes():
    pairs, aligned, negatives = EXPECTATIONS
    assert [pairs.published(metric) for metric in ("sim_gt", "sim_ref", "copy_paste")] == [-0.001, -0.074, -0.078]
    assert [aligned.published(metric) for metric in ("sim_gt", "sim_ref", "copy_paste")] == [0.02, 0.002, -0.014]
    assert [negatives.published(metric) for metric in ("sim_gt", "sim_ref", "copy_paste")] == [0.037, 0.096, 0.087]


def test_the_report_says_where_it_agrees(lines):
    page = markdown(results_of(lines), "plot.png")
    assert "Pairs: agrees with the paper in Sim(GT), Sim(Ref) and copy-paste." in page
    assert "GT-aligned identity loss: agrees with the paper in Sim(Ref); does not agree in Sim(GT);" in page
    assert "4096 negatives instead of 63: agrees with the paper in Sim(GT), Sim(Ref) and copy-paste." in page
    assert "![Sim(GT) against copy-paste](plot.png)" in page
    assert "| change by pairs (a to b) | -0.400 (-0.400 to -0.400) | -0.400 (-0.400 to -0.400) |" in page
    assert "| the truth itself | | 1.000 | 0.700 | -1.000 |" in page
    assert "still to be made" not in page
    assert "other settings" not in page
    assert not [each for each in page.splitlines() if each.startswith("| ") and "None" in each]


def test_an_unfinished_report_says_so(lines):
    kept = [each for each in lines if each["variant"] not in ("c", "d63")]
    page = markdown(results_of([*kept, line("b", 5, common="older")]), "plot.png")
    assert "**6 runs are still to be made" in page
    assert "other settings, models or data: 1." in page
    assert "GT-aligned identity loss: not measured yet." in page
    assert "Pairs: agrees" in page


def test_results_are_of_one_kind(lines):
    older = [line(name, seed, common="older") for name in ("a", "b") for seed in SEEDS]
    results = results_of([*lines, *older])
    assert results.left_out == 6
    assert results.variants == list(WORTH)
    assert results.seeds("d63") == [0, 1, 2]
    assert results_of([*lines, *older], "older").variants == ["a", "b"]
    with pytest.raises(ValueError, match="no results"):
        results_of([])


def test_remarks_outlive_the_page(lines, tmp_path):
    page = tmp_path / "page.md"
    results = results_of(lines)
    page.write_text(markdown(results, "plot.png", "It was a long day.\n\nIndeed."))
    assert remarks_of(page) == "It was a long day.\n\nIndeed."
    assert markdown(results, "plot.png", remarks_of(page)) == page.read_text()
    assert page.read_text().count(BY_HAND) == page.read_text().count(END_BY_HAND) == 1
    assert "remarked yet" in remarks_of(tmp_path / "none.md")


def test_the_plot_shows_every_variant(lines):
    whole = draw_plot(results_of(lines))
    assert whole.dtype == np.uint8
    assert whole.ndim == 3
    fewer = draw_plot(results_of([each for each in lines if each["variant"] != "c"]))
    green = (120, 200, 120)
    assert (whole == green).all(-1).sum() > 100
    assert not (fewer == green).all(-1).any()


def test_faces_nobody_found_leave_an_empty_plot(lines):
    for each in lines:
        for row in each["rows"]:
            row["copy_paste"] = [None] * IMAGES
    assert draw_plot(results_of(lines)).ndim == 3
    page = markdown(results_of(lines), "plot.png")
    assert "Pairs: agrees with the paper in Sim(GT) and Sim(Ref); was not measured in copy-paste." in page
