"""What a run shows while it trains: smoothed loss, a bar for validation, TensorBoard's images, Weights & Biases."""

import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from accelerate.utils import LoggerType
from withanyone_pack.tests.training.small_trainer import settings_of, small_trainer

from training.loop.build import build_trainer
from training.loop.log import MetricsLog, make_accelerator, read_rows, start_trackers
from training.loop.train import train

SHORT = ("optim.steps=4", "validation.every_steps=4", "save.every_steps=2")


def means(text):
    return {int(step): float(mean) for step, mean in re.findall(r"Step (\d+) of .*mean of \d+ steps ([\d.]+)", text)}


def test_a_line_has_the_running_mean_of_the_loss_which_a_resumed_run_continues(tmp_path, caplog):
    caplog.set_level("INFO", "withanyone")
    trainer = small_trainer(tmp_path, *SHORT)
    trainer.validate = lambda: None
    train(trainer)
    trainer.close()
    losses = [float(row["loss"]) for row in read_rows(tmp_path / "metrics.csv")]
    expected = {step: pytest.approx(np.mean(losses[:step]), abs=5e-4) for step in range(2, 5)}
    assert means(caplog.text) == expected
    caplog.clear()
    again = small_trainer(tmp_path, "optim.steps=5", *SHORT[1:])
    again.validate = lambda: None
    train(again)
    again.close()
    losses = [float(row["loss"]) for row in read_rows(tmp_path / "metrics.csv")]
    assert means(caplog.text) == {5: pytest.approx(np.mean(losses), abs=5e-4)}


def test_on_a_terminal_validation_has_a_bar_of_its_own(tmp_path, monkeypatch, capsys):
    trainer = small_trainer(tmp_path)
    trainer.validate()
    assert "validation" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    trainer.validate()
    trainer.close()
    assert re.search(r"validation: +\d+%.*/5 ", capsys.readouterr().err)  # 3 sigmas and 2 steps of one image


def test_previews_are_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = small_trainer(tmp_path)
    trainer.validate()
    trainer.close()
    tags = EventAccumulator(str(tmp_path / "tensorboard/validation")).Reload().Tags()
    assert tags["images"] == [trainer.validator.scenes[0].name]


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package that keeps what it is given."""
    found = ModuleType("wandb")
    found.started, found.logged = [], []
    run = SimpleNamespace(log=lambda values, step: found.logged.append((step, values)), finish=lambda: None)
    found.init = lambda **choices: found.started.append(choices) or run
    found.config = SimpleNamespace(update=lambda values, **_: setattr(found, "recipe", values))
    found.Image = lambda image: image.shape
    found.__spec__ = SimpleNamespace(name="wandb", loader=None, origin=None)
    monkeypatch.setitem(sys.modules, "wandb", found)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.WANDB])
    return found


def test_numbers_and_previews_go_to_weights_and_biases_without_paths(tmp_path, wandb):
    settings = settings_of(tmp_path, "log.wandb=faces")
    for _ in range(2):
        accelerator = make_accelerator(settings, is_on_cpu=True)
        start_trackers(accelerator, settings)
    log = MetricsLog(tmp_path / "validation.csv", ("sim_gt", "leakage"), -1, accelerator)
    log.add(3, {"sim_gt": 0.5, "leakage": None})
    log.add_images(3, {"anna": np.zeros((4, 6, 3), np.uint8)})
    log.close()
    assert wandb.logged == [(3, {"validation/sim_gt": 0.5}), (3, {"validation/anna": [(4, 6, 3)]})]
    assert [(each["project"], each["name"]) for each in wandb.started] == [("faces", tmp_path.name)] * 2
    assert len({each["id"] for each in wandb.started}) == 1, "a resumed run is another one over there"
    assert str(tmp_path.parent) not in repr(wandb.recipe)
    assert wandb.recipe["optim"]["steps"] == 2000


def test_without_its_package_it_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RuntimeError, match=r"wandb is not installed: run `python -m pip install wandb`"):
        build_trainer(settings_of(tmp_path, "log.wandb=faces"))
    assert not (tmp_path / "tensorboard").exists()
