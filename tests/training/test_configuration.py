"""Settings: files, changes, and mistakes in words."""

from pathlib import Path

import pytest
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.configuration.reading import Section, UserPath, read_settings


class Speed(Section):
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)


class Small(Section):
    seed: int = 0
    cache: UserPath | None = None
    photos: tuple[UserPath, ...] = ()
    speed: Speed = Speed()


def written(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_a_file_and_changes(tmp_path):
    path = written(tmp_path, "seed: 3\nspeed: {lr: 1e-5}\n")
    assert read_settings(Small, path).speed.lr == 1e-5
    changed = read_settings(Small, path, ["speed.lr=2e-3", "speed.betas=[0.8, 0.9]", "seed=7"])
    assert (changed.speed.lr, changed.speed.betas, changed.seed) == (2e-3, (0.8, 0.9), 7)


def test_paths_of_a_file_start_at_the_file_and_paths_of_a_change_at_the_working_directory(tmp_path, monkeypatch):
    path = written(tmp_path, "cache: store\nphotos: [a, b]\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert read_settings(Small, path).cache == tmp_path / "store"
    assert read_settings(Small, path).photos == (tmp_path / "a", tmp_path / "b")
    assert read_settings(Small, path, ["cache=store", "photos=[c]"]).cache == elsewhere / "store"
    assert read_settings(Small, path, ["photos=[c]"]).photos == (elsewhere / "c",)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("sed", "seed"),
        ("speed.lrr", "speed.lr"),
        ("lr", "speed.lr"),
        ("sped.lr", "speed.lr"),
        ("speed.beta", "speed.betas"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path, key, nearest):
    with pytest.raises(
        ValueError, match=rf"the key {key.split('.')[0]}.* is unknown; did you mean {nearest.split('.')[0]}"
    ):
        read_settings(Small, written(tmp_path, ""), [f"{key}=1"])


def test_all_mistakes_are_listed_at_once(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)run\.yaml.*speed\.lr is 'fast'.*valid number.*seed is 'x'|seed is 'x'.*speed\.lr"
    ):
        read_settings(Small, written(tmp_path, "seed: x\nspeed: {lr: fast}\n"))


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        ("- 1\n", [], "expected `key: value` lines"),
        ("seed: [1\n", [], "not readable YAML"),
        ("", ["seed"], "expected key=value"),
        ("", ["=3"], "expected key=value"),
        ("seed: 1\n", ["seed.lr=3"], "seed is a plain value"),
    ],
)
def test_what_is_no_setting_is_refused_in_words(tmp_path, text, changes, words):
    with pytest.raises(ValueError, match=words):
        read_settings(Small, written(tmp_path, text), changes)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no configuration .*absent\.yaml"):
        read_settings(Small, Path("absent.yaml"))
