"""Both commands, as a user types them."""

import json

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.lab import ablate, doctor_trial
from miniature.lab.ablation import commands, setting
from miniature.lab.ablation.variants import START
from training import finetune, prepare


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
    sizes = {"--steps": 1, "--start-steps": 1, "--images": 1, "--sampler-steps": 1, "--identities": 4, "--workers": 1}
    options = [str(part) for pair in sizes.items() for part in pair]
    options += [str(part) for name, file in places.items() for part in (name, tmp_path / file)]
    options = ["optim.batch_size=1", *options, "--only", "d4096", "--seeds", "0"]
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
def test_a_mistake_is_a_readable_message_and_status_2(command, options, words, tmp_path, capsys, monkeypatch, bench):
    monkeypatch.setattr(setting, "load_bench", lambda weights: bench)
    places = ["--scratch", str(tmp_path / "scratch"), "--results", str(tmp_path / "results.jsonl")]
    assert command.main([*options, *places]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "scratch").exists()
