"""Two processes equal one with the doubled batch, and resume from each other's checkpoints."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from withanyone_pack.tests.training.one_of_many import STEPS, run
from withanyone_pack.tests.training.small_cache import small_cache

from training.configuration.finetune import DataSettings
from training.loop.checkpoints import STATE, checkpoints
from training.loop.log import read_rows
from training.loop.sampling import Sampler
from training.loop.step import COLUMNS
from training.losses.contrast import contrast

SCRIPT = Path(__file__).with_name("one_of_many.py")
OF_ITS_OWN = ("s_per_step", "wait_fraction", "memory_gib")


DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "DS_ACCELERATOR": "cpu"}
PLENTY = 900  # seconds, for a busy machine


def run_in_two(folder, *cases, **environment):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, **environment, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, str(SCRIPT), str(folder), "2", *cases]
    running = [
        subprocess.Popen(command, env={**common, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    try:
        errors = [process.communicate(timeout=PLENTY)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)


def begun(folder, other):
    """A run of one world size, as far as its first checkpoint, to resume from in another."""
    folder.mkdir()
    shutil.copytree(other / "ckpt-000002", folder / "ckpt-000002")
    shutil.copy(other / "metrics.csv", folder)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    run(folder, "whole", 1)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory, one):
    folder = tmp_path_factory.mktemp("two")
    begun(folder / "onwards", one / "whole")
    run_in_two(folder, "whole", "sharded", "onwards")
    return folder


def rows(folder):
    return read_rows(folder / "metrics.csv")


def assert_equal_runs(first, second):
    assert len(rows(first)) == len(rows(second)) == STEPS
    for one, two in zip(rows(first), rows(second), strict=True):
        assert one["faces"] == two["faces"]
        for name in one.keys() - set(OF_ITS_OWN):
            assert bool(one[name]) == bool(two[name]), name
            if one[name]:
                assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-5, abs=1e-5), name
    one, two = (load_file(checkpoints(folder)[-1] / STATE) for folder in (first, second))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(two[name], value, atol=1e-5), name


def test_losses_gradients_and_parameters_are_those_of_one_process(one, two):
    assert_equal_runs(one / "whole", two / "whole")
    found = rows(two / "whole")
    assert set(COLUMNS) <= set(found[0])
    assert len({row["faces"] for row in found}) > 1, "every step judged as many faces"


def test_a_sharded_base_changes_nothing(one, two):
    assert_equal_runs(one / "whole", two / "sharded")


@pytest.mark.parametrize("case", ["whole", "sharded"])
def test_the_main_process_alone_validates_and_writes(one, two, case):
    expected, found = read_rows(one / "whole/validation.csv"), read_rows(two / case / "validation.csv")
    assert [row["step"] for row in found] == ["0", "2", "4"]
    for first, second in zip(expected, found, strict=True):
        assert float(second["validation"]) == pytest.approx(float(first["validation"]), rel=1e-5)
    assert len(list((two / case / "previews/step-000004").glob("*.png"))) == 2
    assert [path.name for path in checkpoints(two / case)] == ["ckpt-000002", "ckpt-000004"]


def test_a_checkpoint_of_one_process_opens_in_two(one, two):
    assert_equal_runs(one / "whole", two / "onwards")


def test_a_checkpoint_of_two_processes_opens_in_one(one, two, tmp_path):
    begun(tmp_path / "onwards", two / "whole")
    run(tmp_path, "onwards", 1)
    assert_equal_runs(one / "whole", tmp_path / "onwards")


def test_deepspeed_changes_nothing_and_goes_on_from_a_checkpoint_made_without_it(one, tmp_path):
    pytest.importorskip("deepspeed")
    begun(tmp_path / "onwards", one / "whole")
    run_in_two(tmp_path, "whole", "onwards", **DEEPSPEED)
    assert_equal_runs(one / "whole", tmp_path / "whole")
    assert_equal_runs(one / "whole", tmp_path / "onwards")


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_pass_are_the_whole_pass(parts):
    """Nobody's sample is another's, none is left out, and all have the size of the first of the whole pass."""
    sampler, data = Sampler(small_cache(), 4), DataSettings(cache="cache")

    def drawn(samples):
        return [
            (each.draws, each.image, each.crop, [(p.face, p.reference, p.shown) for p in each.people])
            for each in samples
        ]

    for step in range(20):
        whole = drawn(sampler.micro_batch(data, 7, step, 8, 8))
        parted = [drawn(sampler.micro_batch(data, 7, step, 8, 8, part, parts)) for part in range(parts)]
        assert [sample for part in parted for sample in part] == whole
    with pytest.raises(ValueError, match=r"3 samples cannot be spread evenly over 2 processes"):
        sampler.micro_batch(data, 7, 0, 0, 3, 0, 2)


def test_faces_of_other_processes_are_negatives_without_gradients():
    generator = torch.Generator().manual_seed(0)
    made, targets = (torch.randn(4, 8, generator=generator) for _ in range(2))
    made.requires_grad_(True)
    identities = torch.arange(4)
    whole = contrast(made, targets, identities, targets, identities, same_person=1.0)
    part = contrast(made[:1], targets[:1], identities[:1], targets, identities, same_person=1.0)
    assert torch.allclose(whole.losses_F[:1], part.losses_F)
    alone = contrast(made[:1], targets[:1], identities[:1], targets[:1], identities[:1], same_person=1.0)
    assert not torch.allclose(alone.losses_F, part.losses_F)
