"""A resumed run equals one that was never stopped, bitwise."""

import csv

import pytest
import torch
from safetensors.torch import load_file
from withanyone_pack.tests.training.small_trainer import small_trainer

from training.loop.checkpoints import STATE, checkpoints
from training.loop.train import train

STEPS = 8
CHANGES = (
    f"optim.steps={STEPS}",
    "validation.every_steps=4",
    "save.every_steps=1",
    "save.keep=20",
    "optim.batch_size=2",
    "optim.gradient_accumulation_steps=2",
)
KINDS = {
    "full": (),
    "average": ("optim.ema=0.9", "optim.schedule=cosine"),
    "lora": ("train.mode=lora", "train.rank=4", "adapter.branch=both", "train.targets=[to_q, to_kv, to_out]"),
    "prodigy": ("optim.name=prodigy", "optim.lr=1"),
    "lion": ("optim.name=Lion", "optim.options={fixed_decay: true}"),
    "logit_normal": ("noise.sigmas=logit_normal", "noise.logit_std=0.8"),
    "fused": ("optim.fused=true",),
    "references": ("data.references=mean", "data.single_ratio=0.5", "data.paired_ratio=1"),
    "phases": ("phases=[{until_step: 3, overrides: {data.text_dropout: 1, data.paired_ratio: 0}}]",),
}
OF_THE_MACHINE = ("s_per_step", "wait_fraction", "memory_gib")


class Stopped(Exception):
    """Stands for a power cut."""


def run(folder, *changes, stop_after=None):
    trainer = small_trainer(folder, *CHANGES, *changes)
    if stop_after is not None:
        whole = trainer.step

        def step():
            if trainer.state.progress.step == stop_after:
                raise Stopped
            whole()

        trainer.step = step
    try:
        train(trainer)
    except Stopped:
        pass
    finally:
        trainer.close()
    return trainer


def rows(folder):
    with (folder / "metrics.csv").open() as stream:
        return [{name: row[name] for name in row if name not in OF_THE_MACHINE} for row in csv.DictReader(stream)]


def assert_same_state(first, second):
    one, two = load_file(checkpoints(first)[-1] / STATE), load_file(checkpoints(second)[-1] / STATE)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_at_a_step_and_gone_on_equals_uninterrupted_to_the_last_bit(tmp_path, kind):
    run(tmp_path / "whole", *KINDS[kind])
    run(tmp_path / "parts", *KINDS[kind], stop_after=3)
    assert len(rows(tmp_path / "parts")) == 3
    run(tmp_path / "parts", *KINDS[kind])
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == STEPS
    assert_same_state(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("stop", range(1, STEPS))
def test_any_step_will_do(tmp_path, stop, whole_run):
    run(tmp_path, "save.every_steps=2", stop_after=stop)
    run(tmp_path, "save.every_steps=2")
    assert rows(tmp_path) == rows(whole_run)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder, "save.every_steps=2")
    return folder
