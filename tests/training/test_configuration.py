"""Settings: files, changes, and readable messages for mistakes."""

from pathlib import Path

import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.settings import GIVEN, RECIPE, finetune, written

from training.configuration.finetune import Finetune
from training.configuration.reading import Section, UserPath, read_settings


class Speed(Section):
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)


class Small(Section):
    seed: int = 0
    cache: UserPath | None = None
    photos: tuple[UserPath, ...] = ()
    speed: Speed = Speed()


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
def test_what_is_no_setting_is_refused_with_a_readable_message(tmp_path, text, changes, words):
    with pytest.raises(ValueError, match=words):
        read_settings(Small, written(tmp_path, text), changes)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no configuration .*absent\.yaml"):
        read_settings(Small, Path("absent.yaml"))


def test_what_must_be_given_is_named():
    with pytest.raises(ValueError, match=r"(?s)out is missing.*base is missing.*adapter is missing.*data is missing"):
        read_settings(Finetune, None)


def test_init_none_is_fresh_weights_and_anything_else_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert finetune().adapter.init is None
    assert finetune("adapter.init=wa.safetensors").adapter.init == tmp_path / "wa.safetensors"


def test_identity_losses_need_a_recognizer():
    with pytest.raises(ValueError, match=r"id_loss\.recognizer is missing.*id_loss\.weight=0 and nce\.weight=0"):
        read_settings(Finetune, None, GIVEN[:-1])
    read_settings(Finetune, None, [*GIVEN[:-1], "id_loss.weight=0", "nce.weight=0"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("optim.learning_rate=1", "the key optim.learning_rate is unknown"),
        ("optim.lrr=1", r"did you mean optim\.lr\?"),
        ("lr=1", r"did you mean optim\.lr\?"),
        ("data.paired=1", r"did you mean data\.paired_ratio\?"),
        ("data.paired_ratio=1.5", r"data\.paired_ratio is 1\.5: input should be less than or equal to 1"),
        ("data.references=all", r"data\.references is 'all': input should be 'photo' or 'mean'"),
        ("train.mode=all", r"train\.mode is 'all': input should be 'full', 'kv_out', 'lora' or 'tokens'"),
    ],
)
def test_mistakes_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        finetune(change)


def test_phases_hold_until_their_step():
    settings = finetune(
        "optim.steps=100",
        "phases=[{until_fraction: 0.2, overrides: {data.paired_ratio: 0, optim.lr: 3e-4}},"
        " {until_step: 60, overrides: {data: {paired_ratio: 0.25}, nce: {weight: 0}}}]",
    )
    ratios = {step: settings.at(step).data.paired_ratio for step in (0, 19, 20, 59, 60, 99)}
    assert ratios == {0: 0.0, 19: 0.0, 20: 0.25, 59: 0.25, 60: 0.5, 99: 0.5}
    assert settings.at(0).optim.lr == 3e-4
    assert settings.at(20).optim.lr == settings.optim.lr
    assert settings.at(30).nce.weight == 0


def test_a_phase_may_change_what_references_are():
    settings = finetune(
        "optim.steps=100",
        "phases=[{until_step: 40, overrides: {data.references: mean, data.single_ratio: 0.25}}]",
    )
    kinds = [(settings.at(step).data.references, settings.at(step).data.single_ratio) for step in (0, 39, 40)]
    assert kinds == [("mean", 0.25), ("mean", 0.25), ("photo", 0.5)]


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ("[{until_step: 5, overrides: {data.paired: 0}}]", r"data\.paired is unknown; did you mean data\.paired_ratio"),
        ("[{until_step: 5, overrides: {train.rank: 8}}]", r"train\.rank, which is the same for the whole run"),
        ("[{until_step: 5, overrides: {data.flip: 2}}]", "less than or equal to 1"),
        ("[{until_step: 5}, {until_step: 5}]", "each must end later than the one before"),
        ("[{overrides: {data.flip: 0}}]", "until_step or at until_fraction"),
        ("[{until_steps: 5}]", "until_step"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases, words):
    with pytest.raises(ValueError, match=words):
        finetune(f"phases={phases}")


def test_shipped_recipes_are_sound():
    needed = ["out=run", "base.path=flux", "data.cache=cache", "adapter.init=none", "id_loss.recognizer=face.onnx"]
    recipes = [path for path in (ROOT / "training" / "recipes").glob("*.yaml") if "prepare" not in path.name]
    faults = []
    for path in sorted(recipes):
        try:
            read_settings(Finetune, path, needed)
        except ValueError as error:
            faults.append(f"{path.name}: {error}")
    assert recipes
    assert faults == []


def test_the_papers_recipe_has_its_four_phases_at_any_length():
    path = ROOT / "training" / "recipes" / "paper.yaml"
    for steps in (100_000, 200):
        settings = read_settings(Finetune, path, [*GIVEN, f"optim.steps={steps}"])
        at = [settings.at(int(fraction * steps)) for fraction in (0.1, 0.4, 0.7, 0.95)]
        assert [part.data.text_dropout for part in at] == [1.0, 0.1, 0.1, 0.1]
        assert [part.data.paired_ratio for part in at] == [0.0, 0.0, 0.5, 0.5]
        assert [part.optim.lr for part in at] == [1e-4, 1e-4, 1e-4, 1e-5]
        assert all(part.id_loss.weight == part.nce.weight == 0.1 for part in at)


def test_the_fixed_gain_of_early_stopping_is_refused():
    with pytest.raises(ValueError, match=r"min_sim_gt_gain is no setting any more.*paired bootstrap\. Remove it"):
        read_settings(Finetune, RECIPE, [*GIVEN, "early_stopping.min_sim_gt_gain=0.02"])
