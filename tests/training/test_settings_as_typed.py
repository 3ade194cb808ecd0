"""Paths, names and other texts of settings are taken as they were typed, whatever YAML would read there."""

import pytest
import yaml
from withanyone_pack.tests.training.settings import GIVEN, RECIPE, finetune, written

from training.configuration.finetune import Finetune
from training.configuration.preparing import PrepareSettings
from training.configuration.reading import read_settings
from training.finetune import main as finetune_main

ODD = [
    "friends #2",
    "2025",
    "2025-11-02",
    "no",
    "007",
    "1e3",
    "12:30",
    "my: photos",
    "[old] x",
    "{new}",
    "&me",
    "*them",
    "!x",
    "- y",
    "%z",
    "@home",
    "`tick`",
    "~anna",
    "'quoted'",
    "a, b",
    "a=b",
    "> x",
    "| y",
    "tab\there",
    "trailing ",
    "zoë",
    "张伟",
    "C:\\photos\\new",
    "none",
    "true",
]


def shown(capsys, *arguments):
    """What finetune.py says its settings are."""
    assert finetune_main([*map(str, arguments), "--settings"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("name", ODD)
def test_paths_and_names_of_the_command_line_are_taken_as_typed(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    given = dict(change.split("=", 1) for change in GIVEN) | {
        "out": f"runs/{name}",
        "data.cache": name,
        "base.vae": name,
        "train.identity": name,
        "validation.judges": name + "/judge.json",
        "validation.face_pack": str(tmp_path / name),
    }
    found = shown(capsys, RECIPE, *(f"{key}={value}" for key, value in given.items()))
    assert found["out"] == str(tmp_path / "runs" / name)
    assert found["data"]["cache"] == found["base"]["vae"] == found["validation"]["face_pack"] == str(tmp_path / name)
    assert found["train"]["identity"] == name
    assert found["validation"]["judges"] == [str(tmp_path / name / "judge.json")]


@pytest.mark.parametrize("name", ["2025", "2025-11-02", "no", "007", "1e3", "12:30", "true", "0x1f", "1_000", ".5"])
def test_paths_and_names_of_a_file_are_what_is_written_there(capsys, tmp_path, name):
    path = written(
        tmp_path,
        f"\ufeffout: {name}\nbase: {{path: {name}, vae: null}}\nadapter: {{init: none}}\ntrain: {{identity: {name}}}\n"
        f"data: {{cache: {name}}}\nid_loss: {{recognizer: r.onnx}}\n"
        f"validation: {{judges: [{name}], face_pack: {name}}}\n"
        f"phases: [{{until_step: 5, overrides: {{data.cache: {name}, nce: {{weight: 0}}}}}}]\n",
    )
    found = shown(capsys, path)
    place = str(tmp_path / name)
    assert found["out"] == found["base"]["path"] == found["data"]["cache"] == found["validation"]["face_pack"] == place
    assert found["validation"]["judges"] == [place]
    assert (found["train"]["identity"], found["base"]["vae"], found["adapter"]["init"]) == (name, None, None)
    assert read_settings(Finetune, path).at(0).data.cache == tmp_path / name
    assert read_settings(Finetune, path).at(0).nce.weight == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[a.json, b #2.json]", ["a.json", "b #2.json"]),
        ("[]", []),
        ("[a.json,]", ["a.json"]),
        ("""["a, b.json", 'no', 2025, o'brien]""", ["a, b.json", "no", "2025", "o'brien"]),
        ("one.json", ["one.json"]),
        ("[old] x/one.json", ["[old] x/one.json"]),
    ],
)
def test_lists_of_texts_hold_texts(capsys, tmp_path, monkeypatch, text, names):
    monkeypatch.chdir(tmp_path)
    found = shown(capsys, *[RECIPE, *GIVEN, "validation.face_pack=p", f"validation.judges={text}"])
    assert found["validation"]["judges"] == [str(tmp_path / name) for name in names]


def test_numbers_and_choices_stay_what_they_were(capsys):
    changes = [
        "optim.lr=1e-5",
        "optim.betas=[0, 0.5]",
        "optim.fused=false",
        "early_stopping.enabled=no",
        "id_loss.recognizer=null",
    ]
    found = shown(capsys, RECIPE, *GIVEN, *changes, "id_loss.weight=0", "nce.weight=0", "train.targets=[to_q]")
    assert (found["optim"]["lr"], found["optim"]["betas"], found["optim"]["fused"]) == (1e-5, [0, 0.5], False)
    assert (found["early_stopping"]["enabled"], found["id_loss"]["recognizer"], found["train"]["targets"]) == (
        False,
        None,
        ["to_q"],
    )


@pytest.mark.parametrize("key", ["out", "data.cache", "base.vae", "adapter.init", "validation.face_pack"])
def test_an_empty_path_is_refused(capsys, key):
    """As a variable that is not set leaves it: it was the working directory."""
    assert finetune_main([str(RECIPE), *GIVEN, f"{key}="]) == 2
    assert f"{key}: the path is empty" in capsys.readouterr().err


def test_aspects_are_no_times_of_day(tmp_path):
    recipe = RECIPE.with_name("prepare.yaml")
    given = ["data=a #1", f"cache={tmp_path}", "aspects=[3:4, 1:1]"]
    settings = read_settings(PrepareSettings, recipe, given)
    assert (settings.data.name, settings.aspects) == ("a #1", ("3:4", "1:1"))
    path = tmp_path / "prepare.yaml"
    path.write_text(recipe.read_text() + "data: no\naspects: [3:4, 2:3]\n")
    settings = read_settings(PrepareSettings, path, given[1:2])
    assert (settings.data, settings.aspects) == (tmp_path / "no", ("3:4", "2:3"))


def test_yaml_that_cannot_be_read_is_answered_with_advice_on_quotes(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)not readable YAML.*belongs in quotes"):
        read_settings(Finetune, written(tmp_path, "out: my: photos\n"))


@pytest.mark.parametrize(("there", "typed"), [("zo\u00eb", "zoe\u0308"), ("zoe\u0308", "zo\u00eb")])
def test_a_path_is_found_in_the_other_unicode_form(tmp_path, there, typed):
    (tmp_path / there / there).mkdir(parents=True)
    settings = finetune(f"out={tmp_path / typed / typed}", f"data.cache={tmp_path / typed / 'new' / typed}")
    assert settings.out == tmp_path / there / there
    assert settings.data.cache == tmp_path / there / "new" / typed
