"""`accelerate launch` with the shipped configurations: what they say, and how a run of several processes ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.killed_process import RUN
from withanyone_pack.tests.training.small_trainer import GIVEN, settings_of, small_trainer

from training.distributed import sharding, zero
from training.loop.build import build_trainer
from training.loop.checkpoints import checkpoints

SHIPPED = ROOT / "training/recipes/accelerate"
KINDS = {"ddp": DistributedType.MULTI_GPU, "fsdp2": DistributedType.FSDP, "deepspeed": DistributedType.DEEPSPEED}
PLENTY, SOON = 900, 120  # seconds, for a busy machine


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_the_configurations(name):
    read = load_config_from_file(str(SHIPPED / f"{name}.yaml"))
    assert read.distributed_type == KINDS[name]
    assert read.mixed_precision == "no", "types are ours to choose"
    if name == "fsdp2":
        assert read.fsdp_config["fsdp_version"] == 2
    if name == "deepspeed":
        assert read.deepspeed_config["zero_stage"] == 2
        assert read.deepspeed_config["gradient_clipping"] > 0


def test_a_killed_process_ends_the_run_with_a_readable_message_and_leaves_a_checkpoint(tmp_path):
    tree = {}
    for key, value in (each.split("=") for each in GIVEN):
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = yaml.safe_load(value)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**tree, "out": "run"}))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(SHIPPED / "ddp.yaml")]
    command += ["--num_processes", "2", "--main_process_port", "0", str(Path(__file__).with_name("killed_process.py"))]
    ended = subprocess.run(
        [*command, str(tmp_path / "config.yaml"), str(tmp_path / "run"), "5"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PLENTY,
        check=False,
    )
    assert ended.returncode != 0, ended.stderr
    message = " ".join(ended.stderr.split())
    assert "Another process of the run has ended" in message or "ended from outside (SIGTERM)" in message, ended.stderr
    assert "SIGKILL" in message
    assert (
        f'File "{ROOT}/training' not in ended.stderr
    )  # the launcher shows a traceback of its own; ours ends with a message
    latest = checkpoints(tmp_path / "run")[-1]
    assert latest.name == "ckpt-000004"
    assert time.time() - latest.stat().st_mtime < SOON, "the others were left waiting"
    trainer = small_trainer(tmp_path / "run", *RUN)
    assert trainer.state.progress.step == 4
    trainer.step()
    assert trainer.state.progress.skipped == 0


def test_deepspeed_that_is_not_installed_is_a_readable_error(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr(zero, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"DeepSpeed, which is not installed.*ddp\.yaml"):
        build_trainer(settings_of(tmp_path))


def test_deepspeed_refuses_states_it_cannot_shard():
    with pytest.raises(ValueError, match=r"optim\.name is adamw8bit.*ddp\.yaml"):
        zero.check_shardable("adamw8bit")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["base.precision=fp8"], r"base\.precision is fp8.*base\.precision=bf16"),
        (["memory.gradient_checkpointing=true", "memory.blocks_to_swap=1"], r"memory\.blocks_to_swap=0"),
    ],
)
def test_a_base_that_cannot_be_sharded_is_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        sharding.check_shardable(settings_of(tmp_path, *changes))


def test_one_process_shards_nothing(monkeypatch, tmp_path):
    assert not sharding.is_fsdp_requested()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert sharding.is_fsdp_requested()
    trainer = small_trainer(tmp_path)
    assert not sharding.is_sharded(trainer.state.frozen.transformer)
    assert trainer.processes.gathered(torch.ones(2, 3)).shape == (2, 3)
    assert trainer.processes.from_main(lambda: {"a": 1}) == {"a": 1}
