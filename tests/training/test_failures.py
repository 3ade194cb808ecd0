"""What can go wrong while a run runs: kills, full disks, no memory, losses that are no numbers."""

import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_session import small_session

from training.loop import session as session_module
from training.loop.checkpoints import PARTIAL, checkpoints, read_checkpoint, step_of
from training.loop.records import read_rows
from training.loop.train import train

RUN = ("optim.steps=6", "eval.every=6", "save.every=1", "save.keep=2")
ENDLESS = ("optim.steps=100000", "eval.every=100000", "save.every=1", "save.keep=2", "eval.prompts=0")
CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pack import load_pack
load_pack()
from withanyone_pack.tests.training.small_session import small_session
from training.loop.train import train
train(small_session({folder}, *{changes!r}))
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
    train(small_session(whole, *ENDLESS, f"optim.steps={steps + 1}"))
    train(small_session(tmp_path, *ENDLESS, f"optim.steps={steps + 1}"))
    assert losses(tmp_path) == losses(whole)


def test_only_the_latest_checkpoints_and_the_best_are_kept(tmp_path):
    train(small_session(tmp_path, *RUN))
    assert [step_of(path) for path in checkpoints(tmp_path)] == [5, 6]


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(tmp_path):
    session = small_session(tmp_path, *RUN)
    session.step()
    session.save()
    session.step()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"step 2 could not be written.*GiB are free.*goes on from step 1"):
            session.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [1]
    assert not list(tmp_path.glob(f"*{PARTIAL}"))
    read_checkpoint(checkpoints(tmp_path)[-1])


def test_a_loss_that_is_no_number_skips_the_step_and_is_counted(tmp_path, monkeypatch):
    session = small_session(tmp_path, *RUN, "optim.accum=2")
    session.step()
    before = {name: value.clone() for name, value in session.trained.parameters.items()}
    broken(monkeypatch, session, {1})
    session.step()
    assert session.progress.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in session.trained.parameters.items())
    session.step()
    assert session.progress.skipped_in_row == 0
    assert any(not torch.equal(value, before[name]) for name, value in session.trained.parameters.items())
    assert [row["skipped"] for row in read_rows(tmp_path / "metrics.csv")] == ["0", "1", "1"]
    assert all(value.isfinite().all() for value in session.trained.parameters.values())


def test_too_many_such_losses_in_a_row_stop_the_run(tmp_path, monkeypatch):
    session = small_session(tmp_path, "optim.steps=50", "optim.skip_limit=4", "eval.prompts=0")
    broken(monkeypatch, session, set(range(5, 50)))
    with pytest.raises(RuntimeError, match=r"no number at 4 steps in a row \(up to step 9\).*Lower optim\.lr"):
        train(session)


def broken(monkeypatch, session, steps):
    """Makes the second half of these steps' passes give NaN."""
    whole = session_module.run_pass

    def run_pass(batch, *others):
        if session.progress.step in steps:
            batch = type(batch)(**{**batch.__dict__, "noise_BCHW": batch.noise_BCHW * float("nan")})
        return whole(batch, *others)

    monkeypatch.setattr(session_module, "run_pass", run_pass)


def test_no_memory_says_what_to_lower(tmp_path, monkeypatch):
    def run_pass(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")

    monkeypatch.setattr(session_module, "run_pass", run_pass)
    with pytest.raises(
        RuntimeError,
        match=r"out of memory. Try, in this order: optim\.batch=1.*blocks=true.*base\.precision=fp8.*train\.mode=lora"
        r".*training/doctor\.py",
    ):
        train(small_session(tmp_path, "optim.batch=4", "eval.prompts=0"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(small_session(tmp_path, *RUN))
    (checkpoints(tmp_path)[-1] / "state.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"ckpt-000006 is damaged.*Delete this folder"):
        small_session(tmp_path, *RUN)


@pytest.mark.parametrize("change", ["train.mode=kv_out", "adapter.heads=2"])
def test_going_on_with_other_parameters_is_refused(tmp_path, change):
    train(small_session(tmp_path, *RUN))
    with pytest.raises(ValueError, match=r"other parameters than this configuration trains.*out="):
        small_session(tmp_path, *RUN, change)


def test_never_resuming_refuses_a_folder_in_use(tmp_path):
    train(small_session(tmp_path, *RUN))
    with pytest.raises(ValueError, match=r"holds checkpoints up to step 6, and resume is never"):
        small_session(tmp_path, *RUN, "resume=never")


def test_a_cache_without_negatives_is_refused_until_none_are_asked_for(tmp_path):
    photos = small_cache(negatives=0)
    with pytest.raises(ValueError, match=r"no negatives.*nce\.negatives=0"):
        small_session(tmp_path, *RUN, photos=photos)
    train(small_session(tmp_path, *RUN, "nce.negatives=0", photos=photos))


def test_eight_bit_states_without_their_package_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"bitsandbytes.*optim\.name=adamw|CUDA device.*optim\.name=adamw"):
        small_session(tmp_path, "optim.name=adamw8bit")
