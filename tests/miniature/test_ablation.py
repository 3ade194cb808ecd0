"""The ablation and the doctor's trial: arithmetic on made-up results, what is run and kept, and both small commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature import ablate, doctor_trial
from miniature.ablation import commands, ladder, photo_sets, setting, trial
from miniature.ablation.commands import RECIPES, model_changes, settings_of
from miniature.ablation.estimates import Estimate, correlations, difference, estimate
from miniature.ablation.ladder import Ladder, climb
from miniature.ablation.paper import CLAIMS, verdict
from miniature.ablation.photo_sets import HABITS, first_scene, photos_of, scene_of, write_set
from miniature.ablation.pictures import MEASURES, scores_of, strangers
from miniature.ablation.pictures import Test as Pictures
from miniature.ablation.plot import draw_plot
from miniature.ablation.report import BY_HAND, END_BY_HAND, markdown, remarks_of
from miniature.ablation.results import results_of
from miniature.ablation.setting import loaded_eyes
from miniature.ablation.sliders import slider_of
from miniature.ablation.start import joined_start, start_words
from miniature.ablation.trial import Trial, comparable, trial_figures, trial_table, tried
from miniature.ablation.variants import COMMON, SEEDS, SHORT, START, UNWATCHED, VARIANTS, chosen_variants
from miniature.recipes.scenes import TRAINING_PEOPLE
from miniature.weights_folder import WEIGHTS
from training import finetune, prepare
from training.evaluation.records import Lines
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_core.metrics.case import FaceVectors

RECIPE = RECIPES / "miniature.yaml"
ARC = BranchShape(hidden=256, heads=2, layers=5, arc_tokens=4, embedding=512)
SIG = BranchShape(hidden=256, heads=2, layers=5, arc_tokens=4, embedding=512, siglip_width=64)
PICTURES = 40
# Sim(GT), Sim(Ref) and copy-paste of each variant: pairs and negatives work as in the paper, alignment does not.
WORTH = {
    START: (0.2, 0.3, 0.30),
    "a": (0.30, 0.60, 0.40),
    "b": (0.30, 0.50, 0.20),
    "c": (0.25, 0.50, 0.20),
    "d63": (0.40, 0.50, 0.10),
    "d4096": (0.45, 0.60, 0.20),
}


def adapter(path, *shapes):
    """An adapter that knows nobody."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AdapterNetwork(shapes)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
    save_file(file_tensors(network.state_dict()), path)
    return path


def line(variant, seed, common="same", noise=0.05, sliders=(0.0, 0.5, 1.0), pictures=PICTURES):
    """A line of results whose numbers scatter round those of WORTH; further along the slider all of them grow."""
    rng = np.random.default_rng([seed, pictures])
    own, shift = rng.normal(0, 0.1, pictures), rng.normal(0, noise, (4, pictures))
    rows = []
    for slider in sliders:
        values = [value + (slider - 0.5) / 5 + own + moved for value, moved in zip(WORTH[variant], shift, strict=False)]
        measured = dict(zip(("sim_gt", "sim_ref", "copy_paste"), (each.tolist() for each in values), strict=True))
        rows.append({"slider": slider, **measured, "found": [1.0] * pictures})
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
        "truth_and_reference": [0.7] * pictures,
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
    # The same pictures in all runs would be three times the same; these are not.
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.04
    assert estimate({0: [None, None]}) is None


def test_seeds_that_disagree_widen_the_interval():
    alike = {seed: [0.5] * 200 for seed in range(3)}
    apart = {seed: [0.4 + 0.1 * seed] * 200 for seed in range(3)}
    assert estimate(alike).high - estimate(alike).low == pytest.approx(0)
    assert estimate(apart).high - estimate(apart).low > 0.1


def test_differences_are_of_the_same_pictures_and_seeds():
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
        ((-0.02, 0.08), 0.04, "not told from no change"),
        ((-0.02, 0.08), 0.002, "agrees: no change in either"),
        ((0.003, 0.007), -0.001, "agrees: no change in either"),
        ((0.02, 0.08), -0.001, "differs: a change where the paper has none"),
    ],
)
def test_verdicts(bounds, published, words):
    assert verdict(Estimate(sum(bounds) / 2, *bounds), published) == words
    assert verdict(None, published) == "not measured"


def test_the_papers_changes():
    pairs, aligned, negatives = CLAIMS
    assert [pairs.published(metric) for metric in ("sim_gt", "sim_ref", "copy_paste")] == [-0.001, -0.074, -0.078]
    assert [aligned.published(metric) for metric in ("sim_gt", "sim_ref", "copy_paste")] == [0.02, 0.002, -0.014]
    assert [negatives.published(metric) for metric in ("sim_gt", "sim_ref", "copy_paste")] == [0.037, 0.096, 0.087]


def test_the_report_says_where_it_agrees(lines):
    page = markdown(results_of(lines), "plot.png")
    assert "Pairs: agrees with the paper in Sim(GT), Sim(Ref) and copy-paste." in page
    assert "GT-aligned identity loss: agrees with the paper in Sim(Ref); does not agree in Sim(GT);" in page
    assert "4096 negatives instead of 63: agrees with the paper in Sim(GT), Sim(Ref) and copy-paste." in page
    assert "![Sim(GT) against copy-paste](plot.png)" in page
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
            row["copy_paste"] = [None] * PICTURES
    assert draw_plot(results_of(lines)).ndim == 3
    page = markdown(results_of(lines), "plot.png")
    assert "Pairs: agrees with the paper in Sim(GT) and Sim(Ref); was not measured in copy-paste." in page


def settings(variant, *changes, cache="cache", out="out", seed=0):
    all_changes = (*COMMON, *SHORT, *UNWATCHED, *model_changes(WEIGHTS, Path(cache)), "adapter.init=none", *changes)
    return settings_of(RECIPE, (*all_changes, *variant.changes, f"seed={seed}"), Path(out))


def test_variants_differ_in_what_they_say():
    told = {
        each.name: (found["data"]["paired_ratio"], found["id_loss"]["weight"], found["nce"]["weight"])
        for each, found in ((each, settings(each)) for each in VARIANTS)
    }
    assert told == {
        "a": (0, 0, 0),
        "b": (0.5, 0, 0),
        "c": (0.5, 0.1, 0),
        "d63": (0.5, 0.1, 0.1),
        "d4096": (0.5, 0.1, 0.1),
    }
    found = {each.name: settings(each) for each in VARIANTS}
    assert (found["d63"]["nce"]["negatives"], found["d4096"]["nce"]["negatives"]) == (63, 4096)
    assert all(each["phases"] == [] for each in found.values())
    rest = [{key: each[key] for key in ("optim", "train", "adapter", "base", "noise")} for each in found.values()]
    assert all(each == rest[0] for each in rest)


def test_settings_are_told_apart_by_what_changes_the_outcome():
    same = settings(VARIANTS[2])
    assert settings(VARIANTS[2], cache="elsewhere", out="there") == same
    assert settings(VARIANTS[2], "memory.checkpoint_vae=true") == same
    assert settings(VARIANTS[2], seed=1) != same
    assert settings(VARIANTS[2], "optim.lr=2e-3") != same


def test_variants_are_chosen_by_name():
    assert [each.name for each in chosen_variants(["d"])] == ["d63", "d4096"]
    assert [each.name for each in chosen_variants(["c", "a"])] == ["a", "c"]
    assert chosen_variants([]) == VARIANTS
    with pytest.raises(ValueError, match="no variant 'e'"):
        chosen_variants(["a", "e"])


def test_sliders():
    both = slider_of("both")
    assert both.weights(0.25) == {Branch.ARC: 0.75, Branch.SIG: 0.25}
    assert both.usual in both.values
    arc = slider_of("arc")
    assert arc.weights(0.75) == {Branch.ARC: 0.75}
    assert arc.usual in arc.values


class Blind:
    """Eyes that paint nothing: every score is what was said."""

    judge = reader = painter = None

    def __init__(self, values=(0.5, 0.25)):
        self.values, self.seen = list(values), []

    def scores(self, path, test, slider, values, steps):
        self.seen.append(path)
        return [{"slider": value, **dict.fromkeys(MEASURES, self.values)} for value in values]


@pytest.fixture
def small_ladder(tmp_path):
    start = adapter(tmp_path / "start.safetensors", ARC)
    changes = (*COMMON, *SHORT, *UNWATCHED, *model_changes(WEIGHTS, tmp_path / "cache"))
    return Ladder(
        RECIPE, changes, start, slider_of("arc"), Pictures((), "pictures"), 2, {"start": "1"}, tmp_path / "runs"
    )


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Every run that is made, in order; training takes no time and gives the start back."""
    runs = []

    def trained(recipe, changes, out):
        runs.append(out.name.rpartition("_")[0])
        if len(runs) == getattr(made_until, "stop", None):
            raise KeyboardInterrupt
        return tmp_path / "start.safetensors"

    made_until.stop = None
    monkeypatch.setattr(ladder, "trained", trained)
    return runs


def made_until():
    """Where the next training is interrupted, as its attribute `stop`."""


WANTED = [(variant, seed) for seed in (0, 1) for variant in VARIANTS[:2]]


def test_runs_are_made_once_and_in_order(small_ladder, made, tmp_path):
    lines = Lines(tmp_path / "results.jsonl")
    assert climb(small_ladder, WANTED, lines, Blind(), float("inf")) == 0
    assert made == ["a_seed0", "b_seed0", "a_seed1", "b_seed1"]
    assert climb(small_ladder, WANTED, Lines(tmp_path / "results.jsonl"), Blind(), float("inf")) == 0
    assert len(made) == 4
    kept = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [each["case"] for each in kept] == [START, "a_seed0", "b_seed0", "a_seed1", "b_seed1"]
    assert len({each["common"] for each in kept}) == 1
    assert all(len(each["adapter"]) == 64 for each in kept)
    assert [row["slider"] for row in kept[1]["rows"]] == [0.5, 0.75, 1.0, 1.25]


def test_a_stopped_ladder_goes_on(small_ladder, made, tmp_path):
    path = tmp_path / "results.jsonl"
    made_until.stop = 3
    with pytest.raises(KeyboardInterrupt):
        climb(small_ladder, WANTED, Lines(path), Blind(), float("inf"))
    path.write_text(path.read_text() + '{"case": "a_se')  # killed while it wrote
    made_until.stop = None
    assert climb(small_ladder, WANTED, Lines(path), Blind(), float("inf")) == 0
    assert made == ["a_seed0", "b_seed0", "a_seed1", "a_seed1", "b_seed1"]


def test_a_budget_ends_the_ladder_before_the_next_run(small_ladder, made, tmp_path):
    assert climb(small_ladder, WANTED, Lines(tmp_path / "results.jsonl"), Blind(), -1) == 4
    assert made == []


@pytest.mark.parametrize("change", ["shared", "changes", "test"])
def test_other_settings_are_measured_anew(small_ladder, made, tmp_path, change):
    lines = Lines(tmp_path / "results.jsonl")
    climb(small_ladder, WANTED[:1], lines, Blind(), float("inf"))
    other = {
        "shared": {"shared": {"start": "2"}},
        "changes": {"changes": (*small_ladder.changes, "optim.lr=2e-3")},
        "test": {"test": Pictures((), "others")},
    }[change]
    climb(replace(small_ladder, **other), WANTED[:1], lines, Blind(), float("inf"))
    assert made == ["a_seed0", "a_seed0"]


def test_a_start_may_be_a_file_a_branch(tmp_path):
    files = adapter(tmp_path / "arc.safetensors", ARC), adapter(tmp_path / "sig.safetensors", SIG)
    start = joined_start(files, tmp_path / "scratch")
    assert joined_start(files, tmp_path / "scratch") == start
    assert "branches arc and sig" in start_words(start, files)
    assert joined_start(files[:1], tmp_path / "scratch") == files[0]
    assert start_words(files[0], ()).startswith("fresh weights")
    with pytest.raises(FileNotFoundError):
        joined_start([tmp_path / "none.safetensors"], tmp_path)


@pytest.fixture(scope="module")
def eyes():
    torch.set_num_threads(1)
    return loaded_eyes(WEIGHTS)


def test_pictures_of_strangers_and_what_the_judge_says(eyes):
    test = strangers(2, eyes.reader, eyes.judge)
    assert [len(each.wanted.people) for each in test.asked] == [1, 2]
    assert test.digest == strangers(2, eyes.reader, eyes.judge).digest != strangers(1, eyes.reader, eyes.judge).digest
    truth = scores_of(test, [each.truth for each in test.asked])
    assert truth["sim_gt"] == pytest.approx([1, 1], abs=1e-4)
    assert truth["copy_paste"] == pytest.approx([-1, -1], abs=0.01)
    assert truth["found"] == [1, 1]
    assert truth["sim_ref"] == pytest.approx(test.alike)
    nobody = FaceVectors.of((), np.zeros((0, eyes.judge.width), np.float32))
    lost = scores_of(test, [nobody, nobody])
    assert lost == {"sim_gt": [0, 0], "sim_ref": [0, 0], "copy_paste": [None, None], "found": [0, 0]}


PERSON = TRAINING_PEOPLE + 350_001
BY_NAME = {habit.name: habit for habit in HABITS}


def test_sets_are_enough_and_differ():
    assert len(HABITS) >= 12
    assert len(BY_NAME) == len({replace(habit, name="") for habit in HABITS}) == len(HABITS)
    # One photo of a person is refused by prepare.py.
    assert min(habit.photos for habit in HABITS) == 2


def shown(scene):
    """All that a picture of one person depends on, apart from who it is."""
    (placed,) = scene.people
    return placed.look, placed.centre, placed.size, scene.place, scene.light, scene.backdrop_seed


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name)
def test_every_set_begins_with_the_same_photo(habit):
    assert shown(scene_of(habit, PERSON, 0)) == shown(first_scene(PERSON))
    scenes = [scene_of(habit, PERSON, number) for number in range(habit.photos)]
    looks = [scene.people[0].look for scene in scenes]
    first = looks[0]
    if habit.one_pose:
        assert max(abs(look.yaw - first.yaw) for look in looks) < 4
    if habit.one_mood:
        assert {look.expression for look in looks} == {first.expression}
    if habit.one_place:
        assert {(scene.place, scene.light) for scene in scenes} == {(scenes[0].place, scenes[0].light)}
        assert len({(look.clothes, look.glasses) for look in looks}) == 1
    if habit.moments > 8 and not (habit.one_pose or habit.one_mood or habit.one_place):
        assert len({scene.place for scene in scenes}) > 2
        assert np.std([look.yaw for look in looks]) > 10
    assert len({scene.backdrop_seed for scene in scenes}) == (1 if habit.one_place else habit.moments)


def test_shots_of_one_moment_are_nearly_alike():
    habit = BY_NAME["shots_16_of_4"]
    first, again = (scene_of(habit, PERSON, number) for number in (1, 5))
    assert (first.place, first.backdrop_seed) == (again.place, again.backdrop_seed)
    assert shown(first) != shown(again)
    assert first.people[0].look.expression == again.people[0].look.expression


def test_a_set_is_written_where_it_lacks(tmp_path, monkeypatch):
    habit = BY_NAME["varied_2"]
    write_set(habit, [PERSON], tmp_path)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    name = f"person_{PERSON:07d}"
    assert written == [*(f"captions/{name}/0{n}.txt" for n in (0, 1)), *(f"identities/{name}/0{n}.png" for n in (0, 1))]
    assert [photo.name for photo in photos_of(habit, PERSON)] == [f"identities/{name}/0{n}" for n in (0, 1)]
    (tmp_path / f"identities/{name}/01.png").unlink()
    again = []
    monkeypatch.setattr(photo_sets, "write_photo", lambda photo, folder: again.append(photo.name))
    write_set(habit, [PERSON], tmp_path)
    assert again == [f"identities/{name}/01"]


class Doctored(Blind):
    """Eyes to which an adapter copies the more the higher the risk of the set it is from."""

    def __init__(self, eyes):
        super().__init__()
        self.reader, self.judge = eyes.reader, eyes.judge

    def scores(self, path, test, slider, values, steps):
        self.values = [float(path.parent.name) if path.parent.name[0] == "0" else 0.0]
        return super().scores(path, test, slider, values, steps)


@pytest.fixture
def small_trial(tmp_path, monkeypatch):
    """Sets of two people that are neither rendered nor trained on; one of them cannot be prepared."""
    risks = {habit.name: 0.2 + 0.05 * number for number, habit in enumerate(HABITS)}
    start = adapter(tmp_path / "start.safetensors", ARC)
    monkeypatch.setattr(trial, "write_set", lambda habit, people, folder: None)

    def prepared(photos, cache, changes):
        name = photos.parent.name.rpartition("_")[0]
        if name == "varied_4":
            raise RuntimeError("prepare.py ended with status 2")
        cache.mkdir(parents=True)
        people = [{"photos": 3, "parts": {"pose": 0.5}}]
        (cache / "doctor.json").write_text(json.dumps({"risk": risks[name], "people": people}))
        return cache

    def trained(recipe, changes, out):
        copied = out / f"{risks[out.parent.name.rpartition('_')[0]]:.3f}"
        copied.mkdir(parents=True)
        (copied / "adapter.safetensors").write_bytes(start.read_bytes())
        return copied / "adapter.safetensors"

    monkeypatch.setattr(trial, "prepared", prepared)
    monkeypatch.setattr(trial, "trained", trained)
    return Trial(RECIPE, WEIGHTS, tmp_path / "scratch", start, (), people=2, steps=2, targets=1, sampler_steps=2)


def test_the_doctors_trial(small_trial, eyes, tmp_path, caplog):
    lines = Lines(tmp_path / "doctor.jsonl")
    assert trial_figures(lines) == ()
    assert tried(small_trial, HABITS, lines, Doctored(eyes), float("inf")) == 0
    assert "varied_4 is left out: prepare.py ended" in caplog.text
    sets = comparable(lines)
    assert len(sets) == len(HABITS) - 1
    assert [each["risk"] for each in sets] == sorted(each["risk"] for each in sets)
    spearman, pearson = trial_figures(lines)
    assert (spearman.value, spearman.count) == (pytest.approx(1), len(sets))
    assert spearman.name.startswith("Spearman")
    assert pearson.name.startswith("Pearson")
    table = trial_table(lines)
    assert table.splitlines()[2].startswith("| the adapter before |  |  | 0.000 ")
    assert "| 8 photos of 1 moment | 3 | 0.90 | 0.900 (0.900 to 0.900) |" in table
    assert tried(small_trial, HABITS[:2], Lines(tmp_path / "doctor.jsonl"), Doctored(eyes), -1) == 0
    other = replace(small_trial, steps=3)
    assert tried(other, HABITS[:2], lines, Doctored(eyes), -1) == 2


def test_only_the_latest_trial_counts(small_trial, eyes, tmp_path):
    lines = Lines(tmp_path / "doctor.jsonl")
    tried(small_trial, HABITS[:2], lines, Doctored(eyes), float("inf"))
    other = replace(small_trial, steps=3)
    tried(other, HABITS[3:5], lines, Doctored(eyes), float("inf"))
    assert {each["case"] for each in comparable(lines)} == {habit.name for habit in HABITS[3:5]}


def run_here(script, recipe, changes):
    """In place of another process, which would import everything once more."""
    command = {"finetune.py": finetune, "prepare.py": prepare}[script]
    if command.main([str(recipe), *changes]):
        raise RuntimeError(f"{script} failed")


def test_the_whole_ablation_of_one_run(tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    monkeypatch.setattr(commands, "_run", run_here)
    monkeypatch.setattr(setting, "PORTRAITS", 2)
    places = {"--scratch": "scratch", "--results": "results.jsonl", "--page": "page.md", "--plot": "plot.png"}
    sizes = {"--steps": 1, "--start-steps": 1, "--pictures": 1, "--sampler-steps": 1, "--identities": 4, "--workers": 1}
    options = [str(part) for pair in sizes.items() for part in pair]
    options += [str(part) for name, file in places.items() for part in (name, tmp_path / file)]
    options = ["optim.batch=1", *options, "--only", "d4096", "--seeds", "0"]
    assert ablate.main(options) == 0
    kept = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [each["variant"] for each in kept] == [START, "d4096"]
    assert [row["slider"] for row in kept[1]["rows"]] == [0, 0.25, 0.5, 0.75, 1]
    assert kept[0]["adapter"] == kept[1]["shared"]["start"] != kept[1]["adapter"]
    assert kept[1]["shared"]["batch"] == 1
    page = (tmp_path / "page.md").read_text()
    assert "**14 runs are still to be made" in page
    assert (tmp_path / "plot.png").stat().st_size > 5_000
    (tmp_path / "page.md").unlink()
    assert ablate.main(["--report", *options]) == 0
    assert (tmp_path / "page.md").read_text() == page


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        (ablate, ["--only", "z"], "There is no variant 'z'"),
        (ablate, ["--start", "nowhere.safetensors"], "nowhere.safetensors"),
        (ablate, ["--cache", "nowhere"], "holds no finished cache"),
        (ablate, ["optim.lrr=1", "--cache", "nowhere"], "did you mean optim.lr?"),
        (ablate, ["--report"], "no results"),
        (ablate, ["--recipe", "nowhere.yaml"], "There is no configuration"),
        (doctor_trial, ["--only", "none"], "There is no set none"),
        (doctor_trial, ["--adapter", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_what_is_wrong_is_told_in_words_and_status_2(command, options, words, tmp_path, capsys, monkeypatch, eyes):
    monkeypatch.setattr(setting, "loaded_eyes", lambda weights: eyes)
    places = ["--scratch", str(tmp_path / "scratch"), "--results", str(tmp_path / "results.jsonl")]
    assert command.main([*options, *places]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "scratch").exists()
