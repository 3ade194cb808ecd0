"""What finetune.py does with a run's folder, and what a user can ask of a run while it goes on."""

import os

import pytest
import yaml
from withanyone_pack.tests.training.small_session import GIVEN, small_session

from training import finetune
from training.loop import opening
from training.loop.checkpoints import CONFIG, STATE, checkpoints, step_of

RUN = ("optim.steps=4", "eval.every=100", "save.every=100", "save.keep=9", "eval.prompts=1")
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
        def open_session(settings):
            session = small_session(settings.out, *RUN, *changes)
            step = session.step

            def stepped():
                (at or {}).get(session.progress.step + 1, lambda: None)()
                step()

            session.step = stepped
            return session

        monkeypatch.setattr(opening, "open_session", open_session)
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
