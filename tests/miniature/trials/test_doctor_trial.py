"""The doctor's trial: its sets of photos, and what is kept and reported of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from withanyone_pack.tests.miniature.trials.blind import ARC, RECIPE, Blind, adapter
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.lab.ablation import photo_sets, trial
from miniature.lab.ablation.photo_sets import HABITS, first_scene, photos_of, scene_of, write_set
from miniature.lab.ablation.trial import Trial, comparable, trial_figures, trial_table, tried
from miniature.lab.recipes.scenes import TRAINING_PEOPLE
from miniature.weights_folder import WEIGHTS
from training.evaluation.records import Lines

PERSON = TRAINING_PEOPLE + 350_001
BY_NAME = {habit.name: habit for habit in HABITS}


def test_sets_are_enough_and_differ():
    assert len(HABITS) >= 12
    assert len(BY_NAME) == len({replace(habit, name="") for habit in HABITS}) == len(HABITS)
    # One photo of a person is refused by prepare.py.
    assert min(habit.photos for habit in HABITS) == 2


def shown(scene):
    """All that an image of one person depends on, apart from who it is."""
    (placed,) = scene.people
    return placed.look, placed.center, placed.size, scene.place, scene.light, scene.backdrop_seed


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name)
def test_every_set_begins_with_the_same_photo(habit):
    assert shown(scene_of(habit, PERSON, 0)) == shown(first_scene(PERSON))
    scenes = [scene_of(habit, PERSON, number) for number in range(habit.photos)]
    looks = [scene.people[0].look for scene in scenes]
    first = looks[0]
    if habit.one_pose:
        assert max(abs(look.yaw - first.yaw) for look in looks) < 4
    if habit.one_expression:
        assert {look.expression for look in looks} == {first.expression}
    if habit.one_place:
        assert {(scene.place, scene.light) for scene in scenes} == {(scenes[0].place, scenes[0].light)}
        assert len({look.clothes for look in looks}) == 1
    if habit.moments > 8 and not (habit.one_pose or habit.one_expression or habit.one_place):
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
    """A bench on which an adapter copies the more the higher the risk of the set it is from."""

    def __init__(self, bench):
        super().__init__()
        self.eyes = bench.eyes

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


def test_the_doctors_trial(small_trial, bench, tmp_path, caplog):
    lines = Lines(tmp_path / "doctor.jsonl")
    assert trial_figures(lines) == ()
    assert tried(small_trial, HABITS, lines, Doctored(bench), float("inf")) == 0
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
    assert tried(small_trial, HABITS[:2], Lines(tmp_path / "doctor.jsonl"), Doctored(bench), -1) == 0
    other = replace(small_trial, steps=3)
    assert tried(other, HABITS[:2], lines, Doctored(bench), -1) == 2


def test_only_the_latest_trial_counts(small_trial, bench, tmp_path):
    lines = Lines(tmp_path / "doctor.jsonl")
    tried(small_trial, HABITS[:2], lines, Doctored(bench), float("inf"))
    other = replace(small_trial, steps=3)
    tried(other, HABITS[3:5], lines, Doctored(bench), float("inf"))
    assert {each["case"] for each in comparable(lines)} == {habit.name for habit in HABITS[3:5]}
