"""What finetune.py does with a run's folder, and what a user can ask of a run while it goes on."""

import json
import os
import signal
import socket

import pytest
import yaml
from safetensors import safe_open
from withanyone_pack.tests.training.small_trainer import GIVEN, settings_of, small_trainer

from training import finetune
from training.export import main as export
from training.loop import build
from training.loop.checkpoints import ADAPTER, CONFIG, METRICS, NUMBERS, STATE, checkpoints, step_of
from training.loop.log import read_rows
from training.loop.run_folder import LOCK, claimed

RUN = ("optim.steps=4", "validation.every_steps=100", "save.every_steps=100", "save.keep=9", "validation.num_images=1")
LORA = ("train.mode=lora", "train.rank=2")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Runs finetune.py on small models in memory; `at` has what happens while a step is computed."""
    tree = {}
    for change in (*GIVEN, *RUN):
        section, _, name = change.partition("=")[0].rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = yaml.safe_load(change.partition("=")[2])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**tree, "out": "run"}))

    def run(*changes, at=None):
        def build_trainer(settings):
            trainer = small_trainer(settings.out, *RUN, *changes)
            step = trainer.step

            def stepped():
                (at or {}).get(trainer.state.progress.step + 1, lambda: None)()
                step()

            trainer.step = stepped
            return trainer

        monkeypatch.setattr(build, "build_trainer", build_trainer)
        return finetune.main([str(tmp_path / "config.yaml"), *changes])

    return run


def steps(run):
    return [step_of(path) for path in checkpoints(run)]


def test_files_of_a_run_have_the_mode_that_the_user_chose(tmp_path, start):
    before = os.umask(0o027)
    try:
        assert start() == 0
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"adapter.safetensors", STATE, CONFIG} <= {path.name for path in files}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {path.name: "0o640" for path in files}


def test_a_second_run_in_a_folder_is_refused_and_one_after_it_is_not(tmp_path, start, capsys):
    with claimed(settings_of(tmp_path / "run")):
        assert start() == 2
        message = capsys.readouterr().err
        assert f"Another run is in {tmp_path / 'run'}: process {os.getpid()} on {socket.gethostname()}." in message
        assert not checkpoints(tmp_path / "run")
    assert start() == 0


def test_a_killed_runs_lock_holds_nobody_up_unless_it_was_taken_elsewhere(tmp_path, start, capsys):
    lock = tmp_path / "run" / LOCK
    lock.parent.mkdir()
    lock.write_text(json.dumps({"pid": 7, "host": "another-machine"}))
    assert start() == 2
    message = capsys.readouterr().err
    assert "process 7 on another-machine." in message
    assert f"If that one has ended, delete {lock}." in message
    lock.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    assert start() == 0


def test_what_a_killed_run_left_unfinished_is_removed_and_nothing_else(tmp_path, start, caplog):
    run = tmp_path / "run"
    (run / "ckpt-000003.partial").mkdir(parents=True)
    (run / "ckpt-000003.partial" / STATE).write_bytes(bytes(1000))
    (run / "adapter.safetensors.partial.safetensors").write_bytes(b"half")
    (run / "notes.txt").write_text("mine")
    assert start() == 0
    assert not list(run.glob("*.partial*"))
    assert (run / "notes.txt").read_text() == "mine"
    assert "Removed ckpt-000003.partial, which an earlier run had not finished" in caplog.text


def never():
    raise AssertionError("models were loaded")


def test_a_folder_that_cannot_be_written_is_reported_before_any_model_is_loaded(tmp_path, start, monkeypatch, capsys):
    monkeypatch.setattr("withanyone_pack.tests.training.test_run_folder.small_trainer", lambda *_: never())
    (tmp_path / "file").write_text("")
    assert start(f"out={tmp_path}/file/run") == 2
    assert f"folder {tmp_path}/file/run cannot be written (Not a directory)" in capsys.readouterr().err


def test_a_disk_without_space_for_a_checkpoint_is_reported_before_models_are_loaded(
    tmp_path, start, monkeypatch, capsys
):
    monkeypatch.setattr("withanyone_pack.tests.training.test_run_folder.small_trainer", lambda *_: never())
    checkpoint = tmp_path / "run" / "ckpt-000001"
    checkpoint.mkdir(parents=True)
    for name in (ADAPTER, STATE, NUMBERS, CONFIG, METRICS):
        (checkpoint / name).write_bytes(b"")
    os.truncate(checkpoint / STATE, 2**43)  # a hole: it takes no space
    assert start() == 2
    assert "A checkpoint of this run needs 8192.00 GiB, and " in capsys.readouterr().err


def test_another_alpha_is_refused_where_a_run_goes_on(start, tmp_path, capsys):
    assert start(*LORA, "train.alpha=64") == 0
    assert start(*LORA, "train.alpha=1", "optim.steps=5") == 2
    assert "train.alpha was 64.0 and is now 1.0" in capsys.readouterr().err
    assert steps(tmp_path / "run") == [4]


def test_every_other_changed_setting_is_logged_and_stands_in_header_and_report(tmp_path, start, caplog):
    assert start() == 0
    assert "A setting has changed" not in caplog.text
    assert start("optim.steps=6", "optim.lr=1e-5", "data.cache=cache") == 0
    assert "A setting has changed since the last checkpoint: optim.lr from 0.001 to 1e-05." in caplog.text
    run = tmp_path / "run"
    with safe_open(run / "adapter.safetensors", "pt") as reader:
        header = reader.metadata()
    changes = json.loads(header["withanyone.changes"])
    assert {"step": 4, "key": "optim.lr", "before": 0.001, "now": 1e-5} in changes
    assert {"step": 4, "key": "optim.steps", "before": 4, "now": 6} in changes
    assert "After step 4 the run was resumed with optim.lr from 0.001 to 1e-05." in (run / "report.md").read_text()


@pytest.fixture
def interruptible():
    """Ctrl-C as a terminal has it, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_writes_a_checkpoint_of_the_step_at_hand(tmp_path, start, interruptible, number, status):
    assert start(at={2: lambda: signal.raise_signal(number)}) == status
    assert steps(tmp_path / "run") == [2]
    assert start() == 0
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.csv")] == ["1", "2", "3", "4"]


def test_interrupted_twice_it_ends_at_once(tmp_path, start, interruptible):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert start(at={2: twice}) == 130
    assert steps(tmp_path / "run") == []
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) == 1


def test_files_in_the_folder_ask_for_a_checkpoint_and_a_validation(tmp_path, start):
    run = tmp_path / "run"
    assert start(at={2: (run / "save").touch, 3: (run / "validate").touch}) == 0
    assert steps(run) == [2, 3, 4]
    assert [row["step"] for row in read_rows(run / "validation.csv")] == ["0", "3", "4"]
    assert not (run / "save").exists()
    assert not (run / "validate").exists()


def test_a_log_has_a_line_for_steps_and_one_for_each_validation(start, caplog, capsys):
    assert start() == 0
    for step in range(1, 5):
        assert f"Step {step} of 4: loss " in caplog.text
    for step in (0, 4):
        assert f"Validation at step {step}: loss " in caplog.text
    assert "it/s" not in capsys.readouterr().err


def test_a_disks_own_error_is_reported_with_its_file_and_what_to_do(tmp_path, start, capsys):
    assert start() == 0
    (tmp_path / "run" / "report.md").unlink()
    (tmp_path / "run" / "report.md").mkdir()
    assert start() == 2
    message = capsys.readouterr().err
    assert "report.md" in message
    assert "could not be read or written: " in message
    assert "run the same command again" in message
    checkpoint = str(checkpoints(tmp_path / "run")[-1])
    (tmp_path / "file").write_text("")
    assert export([checkpoint, "--out", str(tmp_path / "file/run/adapter.safetensors")]) == 2
    assert f"{tmp_path}/file/run could not be read or written: Not a directory." in capsys.readouterr().err
