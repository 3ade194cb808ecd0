"""What the runs of the ablation are, which of them are made, and what they are measured on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from withanyone_pack.tests.miniature.trials.blind import ARC, RECIPE, SIG, Blind, adapter
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.lab.ablation import ladder
from miniature.lab.ablation.commands import model_changes, settings_of
from miniature.lab.ablation.images import Seen, scores_of, strangers
from miniature.lab.ablation.images import Test as Images
from miniature.lab.ablation.ladder import Ladder, climb
from miniature.lab.ablation.sliders import slider_of
from miniature.lab.ablation.start import joined_start, start_words
from miniature.lab.ablation.variants import COMMON, SHORT, START, UNWATCHED, VARIANTS, chosen_variants
from miniature.weights_folder import WEIGHTS
from miniature.world.look import EXPRESSIONS
from training.evaluation.records import Lines
from withanyone_core.adapter.shape import Branch
from withanyone_core.metrics.case import FaceEmbeddings


def settings(variant, *changes, cache="cache", out="out", seed=0):
    all_changes = (*COMMON, *SHORT, *UNWATCHED, *model_changes(WEIGHTS, Path(cache)), "adapter.init=none", *changes)
    return settings_of(RECIPE, (*all_changes, *variant.changes, f"seed={seed}"), Path(out))


def test_variants_differ_in_what_they_say():
    weights = {
        each.name: (found["data"]["paired_ratio"], found["id_loss"]["weight"], found["nce"]["weight"])
        for each, found in ((each, settings(each)) for each in VARIANTS)
    }
    assert weights == {
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
    assert settings(VARIANTS[2], "memory.vae_gradient_checkpointing=true") == same
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


@pytest.fixture
def small_ladder(tmp_path):
    start = adapter(tmp_path / "start.safetensors", ARC)
    changes = (*COMMON, *SHORT, *UNWATCHED, *model_changes(WEIGHTS, tmp_path / "cache"))
    return Ladder(RECIPE, changes, start, slider_of("arc"), Images((), "images"), 2, {"start": "1"}, tmp_path / "runs")


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
def test_other_settings_are_measured_again(small_ladder, made, tmp_path, change):
    lines = Lines(tmp_path / "results.jsonl")
    climb(small_ladder, WANTED[:1], lines, Blind(), float("inf"))
    other = {
        "shared": {"shared": {"start": "2"}},
        "changes": {"changes": (*small_ladder.changes, "optim.lr=2e-3")},
        "test": {"test": Images((), "others")},
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


def test_images_of_strangers_and_what_the_judge_says(bench):
    eyes = bench.eyes
    test = strangers(4, eyes)
    assert [len(each.request.people) for each in test.asked] == [1, 2, 1, 2]
    captions = [each.request.caption for each in test.asked]
    assert [any(word in each for word in EXPRESSIONS) for each in captions] == [True, True, False, False]
    assert test.digest == strangers(4, eyes).digest != strangers(1, eyes).digest
    truth = scores_of(test, [each.truth for each in test.asked])
    assert truth["sim_gt"] == pytest.approx([1] * 4, abs=1e-4)
    assert truth["copy_paste"] == pytest.approx([-1] * 4, abs=0.01)
    assert truth["found"] == [1] * 4
    assert truth["sim_ref"] == pytest.approx(test.alike)
    assert set(truth["copied_expression"]) <= {0, None}  # the truth looks as the caption says
    copies = scores_of(test, [replace(each.truth, looks=each.worn) for each in test.asked])
    assert set(copies["copied_expression"]) <= {1, None}
    assert set(copies["copied_direction"]) <= {1, None}
    assert 1 in copies["copied_expression"] + copies["copied_direction"]
    nobody = FaceEmbeddings.of((), np.zeros((0, eyes.judge.width), np.float32))
    lost = scores_of(test, [Seen(nobody, (None,) * len(each.worn)) for each in test.asked])
    none = [None] * 4
    assert lost == {
        "sim_gt": [0] * 4,
        "sim_ref": [0] * 4,
        "copy_paste": none,
        "found": [0] * 4,
        "copied_expression": none,
        "copied_direction": none,
    }
