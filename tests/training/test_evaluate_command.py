"""evaluate.py as a user runs it: from a bare clone, in a process of its own, with small files of its own."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.small_models import write_models, write_small_cases


def run(*arguments, cwd=None, script=ROOT / "training" / "evaluate.py"):
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=clean)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_small_cases(tmp_path_factory.mktemp("cases"))


def test_bare_it_prints_its_help():
    done = run()
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python training/evaluate.py")
    assert "--face-pack" in done.stdout


def test_a_folder_becomes_a_report(models, cases, tmp_path):
    pack, card = models
    done = run(cases, "--judge", card, "--face-pack", pack, "--out", tmp_path, "--limit", 2, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2 of 2 cases measured: {tmp_path / 'report.md'}\n"
    report = json.loads((tmp_path / "report.json").read_text())
    assert [line["case"] for line in report["cases"]] == ["case_0", "case_1"]
    assert report["judges"] == [{"name": "small", "trained_with": False}]
    scores = report["cases"][0]["scores"]["small"]
    assert scores["expected"] == 1
    assert scores["identities"][0]["face"] is not None
    assert scores["means"]["copy_paste"] is not None
    again = run(cases, "--judge", card, "--face-pack", pack, "--out", tmp_path, "--name", "mine")
    assert again.stdout.startswith("3 of 3 cases measured")
    assert len((tmp_path / "cases.jsonl").read_text().splitlines()) == 3
    assert str(ROOT) not in (tmp_path / "report.json").read_text()


def test_a_copy_of_the_script_s_rooms_is_all_it_needs(models, cases, tmp_path):
    for room in ("training", "withanyone_core"):
        shutil.copytree(ROOT / room, tmp_path / "clone" / room, ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "clone" / "training" / "evaluate.py"
    arguments = (cases, "--judge", models[1], "--face-pack", models[0], "--out", tmp_path / "out", "--limit", 1)
    done = run(*arguments, cwd=tmp_path, script=script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"--judge": None}, "No judge was given, and without a recognizer no face can be compared. Add --judge"),
        ({"--face-pack": None}, "No face pack was given. Add --face-pack DIR"),
        ({"--face-pack": "nowhere"}, "nowhere does not exist. Put scrfd_10g_bnkps.onnx"),
        ({"--judge": "nowhere.json"}, "There is no judge's card nowhere.json"),
        ({"--out": None}, "--out is missing"),
        ({"--provider": "Abacus"}, "The provider is 'Abacus'; expected one of CPU, CUDA"),
        ({"--results": "somewhere"}, "--results goes with the published parquet"),
        ({"--clip": "nowhere"}, "nowhere is not a CLIP model: config.json, preprocessor_config.json missing"),
        ({"cases": "nowhere"}, "The folder of cases nowhere does not exist"),
        ({"cases": None}, "CASES is missing"),
        ({"cases": "empty"}, "empty holds no case. Expected one folder a case with out.jpg"),
        ({"--ab-results": "nowhere.json"}, "comparison_key.json does not exist"),
        ({"--ab": "nowhere"}, "The folder of cases nowhere does not exist"),
    ],
)
def test_what_is_wrong_is_a_readable_message(models, cases, tmp_path, changed, words):
    (tmp_path / "empty").mkdir()
    given = {"cases": cases, "--judge": models[1], "--face-pack": models[0], "--out": "out", **changed}
    flags = [item for name, value in given.items() if value and name != "cases" for item in (name, value)]
    done = run(*([given["cases"]] if given["cases"] else []), *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_no_case_that_can_be_measured(models, tmp_path):
    write_small_cases(tmp_path / "cases", 1)
    (tmp_path / "cases" / "case_0" / "out.png").unlink()
    done = run(tmp_path / "cases", "--judge", models[1], "--face-pack", models[0], "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("0 of 1 cases measured")
    assert "the generated image is missing" in (tmp_path / "out" / "report.md").read_text()
