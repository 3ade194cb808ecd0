"""What can go wrong while a run runs: kills, full disks, no memory, losses that are NaN or infinite."""

import json
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_trainer import small_trainer

from training.export import main as export
from training.loop import trainer as trainer_module
from training.loop.checkpoints import ADAPTER, NUMBERS, PARTIAL, STATE, checkpoints, is_finite, read_checkpoint, step_of
from training.loop.log import read_rows
from training.loop.train import train
from training.report.report import finish

RUN = ("optim.steps=6", "validation.every_steps=6", "save.every_steps=1", "save.keep=2")
ENDLESS = (
    "optim.steps=100000",
    "validation.every_steps=100000",
    "save.every_steps=1",
    "save.keep=2",
    "validation.num_images=0",
)
CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pack import load_pack
load_pack()
from withanyone_pack.tests.training.small_trainer import small_trainer
from training.loop.train import train
train(small_trainer({folder}, *{changes!r}))
"""


def losses(folder):
    return [row["loss"] for row in read_rows(folder / "metrics.csv")]


def test_a_run_killed_while_it_saves_goes_on_from_a_whole_checkpoint(tmp_path):
    """Killed twice, and its losses are those of a run nobody killed."""
    script = CHILD.format(
        tests=str(ROOT / "tests"), folder=f"__import__('pathlib').Path({str(tmp_path)!r})", changes=ENDLESS
    )
    for kill in range(2):
        before = [step_of(path) for path in checkpoints(tmp_path)]
        child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and child.poll() is None:
            made = [step_of(path) for path in checkpoints(tmp_path)]
            # A checkpoint in the making is where a kill hurts.
            if made and made[-1] >= max([0, *before]) + 2 + kill and list(tmp_path.glob(f"*{PARTIAL}")):
                break
            time.sleep(0.001)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        for path in checkpoints(tmp_path):
            read_checkpoint(path)
    steps = step_of(checkpoints(tmp_path)[-1])
    whole = tmp_path / "whole"
    train(small_trainer(whole, *ENDLESS, f"optim.steps={steps + 1}"))
    train(small_trainer(tmp_path, *ENDLESS, f"optim.steps={steps + 1}"))
    assert losses(tmp_path) == losses(whole)


def test_only_the_latest_checkpoints_and_the_best_are_kept(tmp_path):
    train(small_trainer(tmp_path, *RUN))
    assert [step_of(path) for path in checkpoints(tmp_path)] == [5, 6]


def test_a_full_disk_is_reported_and_the_last_checkpoint_stays(tmp_path):
    trainer = small_trainer(tmp_path, *RUN)
    trainer.step()
    trainer.save()
    trainer.step()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"step 2 could not be written.*GiB are free.*resumes from step 1"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1]
    assert not list(tmp_path.glob(f"*{PARTIAL}"))
    read_checkpoint(checkpoints(tmp_path)[-1])


def test_a_loss_that_is_no_number_skips_the_step_and_is_counted(tmp_path, monkeypatch):
    trainer = small_trainer(tmp_path, *RUN, "optim.gradient_accumulation_steps=2")
    trainer.step()
    before = {name: value.clone() for name, value in trainer.state.adapter.parameters.items()}
    broken(monkeypatch, trainer, {1})
    trainer.step()
    assert trainer.state.progress.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in trainer.state.adapter.parameters.items())
    trainer.step()
    assert trainer.state.progress.skipped_in_row == 0
    assert any(not torch.equal(value, before[name]) for name, value in trainer.state.adapter.parameters.items())
    assert [row["skipped"] for row in read_rows(tmp_path / "metrics.csv")] == ["0", "1", "1"]
    assert all(value.isfinite().all() for value in trainer.state.adapter.parameters.values())


def test_too_many_such_losses_in_a_row_stop_the_run(tmp_path, monkeypatch):
    trainer = small_trainer(tmp_path, "optim.steps=50", "optim.skip_limit=4", "validation.num_images=0")
    broken(monkeypatch, trainer, set(range(5, 50)))
    with pytest.raises(RuntimeError, match=r"NaN or infinite at 4 steps in a row \(up to step 9\).*Lower optim\.lr"):
        train(trainer)


def broken(monkeypatch, trainer, steps):
    """Makes the second half of these steps' passes give NaN."""
    whole = trainer_module.compute_loss

    def compute_loss(batch, *others):
        if trainer.state.progress.step in steps:
            batch = type(batch)(**{**batch.__dict__, "noise_BCHW": batch.noise_BCHW * float("nan")})
        return whole(batch, *others)

    monkeypatch.setattr(trainer_module, "compute_loss", compute_loss)


def test_no_memory_says_what_to_lower(tmp_path, monkeypatch):
    def compute_loss(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")

    monkeypatch.setattr(trainer_module, "compute_loss", compute_loss)
    with pytest.raises(
        RuntimeError,
        match=r"out of memory. Try, in this order: optim\.batch_size=1.*checkpointing=true.*base\.precision=fp8"
        r".*train\.mode=lora.*training/doctor\.py",
    ):
        train(small_trainer(tmp_path, "optim.batch_size=4", "validation.num_images=0"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(small_trainer(tmp_path, *RUN))
    (checkpoints(tmp_path)[-1] / "state.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"ckpt-000006 is damaged.*Delete this folder"):
        small_trainer(tmp_path, *RUN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("adapter.heads=2", r"other parameters than this configuration trains.*out="),
        ("train.mode=kv_out", r"train\.mode was full and is now kv_out.*out="),
        ("base.precision=bf16", r"base\.precision was fp32 and is now bf16.*out="),
    ],
)
def test_resuming_with_other_parameters_is_refused(tmp_path, change, message):
    train(small_trainer(tmp_path, *RUN))
    with pytest.raises(ValueError, match=message):
        small_trainer(tmp_path, *RUN, change)


def test_never_resuming_refuses_a_folder_in_use(tmp_path):
    train(small_trainer(tmp_path, *RUN))
    with pytest.raises(ValueError, match=r"holds checkpoints up to step 6, and resume is never"):
        small_trainer(tmp_path, *RUN, "resume=never")


def test_a_cache_without_negatives_is_refused_until_none_are_asked_for(tmp_path):
    photos = small_cache(negatives=0)
    with pytest.raises(ValueError, match=r"no negatives.*nce\.negatives=0"):
        small_trainer(tmp_path, *RUN, photos=photos)
    train(small_trainer(tmp_path, *RUN, "nce.negatives=0", photos=photos))


def test_eight_bit_states_without_their_package_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"bitsandbytes.*optim\.name=adamw|CUDA device.*optim\.name=adamw"):
        small_trainer(tmp_path, "optim.name=adamw8bit")


SHORT = (
    "optim.steps=6",
    "validation.every_steps=3",
    "save.every_steps=1",
    "save.keep=9",
    "optim.warmup_steps=0",
    "optim.skip_limit=3",
)


def finite(path):
    return all(is_finite(tensor) for tensor in load_file(path).values())


def test_a_run_that_diverges_keeps_nothing_and_goes_well_with_the_advised_rate(tmp_path):
    """Its weights are finite, and no loss of them is."""
    with pytest.raises(RuntimeError, match=r"has stopped\. Lower optim\.lr \(it is 1e\+37.*then starts again"):
        train(small_trainer(tmp_path, *SHORT, "optim.lr=1e37"))
    assert checkpoints(tmp_path) == []
    trainer = small_trainer(tmp_path, *SHORT, "optim.lr=1e-4")
    train(trainer)
    assert (trainer.state.progress.step, trainer.state.progress.skipped) == (6, 0)
    assert finite(finish(trainer))


def test_the_advised_rate_goes_on_from_before_a_run_diverged(tmp_path):
    diverging = "phases=[{until_step: 3}, {until_step: 9, overrides: {optim.lr: 1e12}}]"
    trainer = small_trainer(tmp_path, *SHORT, "optim.steps=9", diverging)
    with pytest.raises(
        RuntimeError, match=r"\(it is 1e\+12\).*resumes from step 3\. The checkpoint of step 4 .*ckpt-000004\.diverged"
    ):
        train(trainer)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1, 2, 3]
    again = small_trainer(tmp_path, *SHORT)
    assert (again.state.progress.step, again.state.progress.skipped_in_row) == (3, 0)
    train(again)
    assert finite(finish(again))
    assert all(finite(path / ADAPTER) and finite(path / STATE) for path in checkpoints(tmp_path))


def test_weights_that_are_not_finite_are_neither_kept_nor_shown(tmp_path):
    trainer = small_trainer(tmp_path, *SHORT)
    trainer.step()
    trainer.save()
    trainer.step()
    next(iter(trainer.state.adapter.parameters.values())).data.view(-1)[0] = float("inf")
    message = r"After step 2 .* not finite any more, in 1 of .* resumes from step 1\."
    for keep in (trainer.validate, trainer.save):
        with pytest.raises(RuntimeError, match=message):
            keep()
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1]


def test_no_checkpoint_is_written_while_steps_are_skipped_and_the_row_begins_again(tmp_path, monkeypatch, caplog):
    trainer = small_trainer(tmp_path, *SHORT)
    broken(monkeypatch, trainer, {1, 2, 4})
    train(trainer)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1, 4, 6]
    assert [row["step"] for row in read_rows(tmp_path / "validation.csv")] == ["0", "6"]
    assert "Nothing is validated or saved at step 3, which was skipped." in caplog.text
    numbers = [json.loads((path / NUMBERS).read_text())["progress"] for path in checkpoints(tmp_path)]
    assert [(each["skipped"], each["skipped_in_row"]) for each in numbers] == [(0, 0), (2, 0), (3, 0)]
    again = small_trainer(tmp_path, *SHORT)
    assert (again.state.progress.skipped, again.state.progress.skipped_in_row) == (3, 0)


def test_a_result_of_a_run_that_ends_with_skipped_steps_is_that_of_the_last_sound_one(tmp_path, monkeypatch):
    trainer = small_trainer(tmp_path, *SHORT)
    broken(monkeypatch, trainer, {4, 5})
    train(trainer)
    assert "after 4 of 6 steps" in finish(trainer).with_name("report.md").read_text()
    trainer = small_trainer(tmp_path / "other", *SHORT, "optim.steps=2")
    broken(monkeypatch, trainer, {0, 1})
    train(trainer)
    with pytest.raises(RuntimeError, match=r"holds no checkpoint to make a result of.*Lower optim\.lr"):
        finish(trainer)


def test_what_is_not_finite_is_neither_resumed_nor_exported(tmp_path, capsys, caplog):
    lora = (*SHORT, "validation.num_images=0", "train.mode=lora", "train.rank=2")
    train(small_trainer(tmp_path, *lora))
    folder = checkpoints(tmp_path)[-1]
    for name in (ADAPTER, STATE):
        with safe_open(folder / name, "pt") as reader:
            header = reader.metadata()
        tensors = load_file(folder / name)
        key = next(key for key in tensors if key.endswith("lora_B.weight"))
        tensors[key][0, 0] = float("inf")
        save_file(tensors, folder / name, header)
    assert export([str(folder), "--out", str(tmp_path / "adapter.safetensors")]) == 2
    assert "values that are not finite are in 1 of" in capsys.readouterr().err
    assert not list(tmp_path.glob("adapter.*"))
    assert small_trainer(tmp_path, *lora).state.progress.step == 5
    assert "set aside as ckpt-000006.diverged" in caplog.text
    assert export([str(checkpoints(tmp_path)[-1]), "--out", str(tmp_path / "adapter.safetensors")]) == 0
