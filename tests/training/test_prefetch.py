"""Prefetch: the same batches, in time, and compiled blocks that change no number."""

import threading
import time
from dataclasses import replace

import pytest
import torch
import torch._dynamo.testing
from withanyone_pack.tests.training.small_trainer import small_base, small_frozen, small_trainer

from training.base import compiling
from training.loop.log import read_rows
from training.loop.prefetch import Prefetcher
from training.loop.train import train


def following(micro_batch):
    step, number = micro_batch
    return (step, number + 1) if number < 1 else (step + 1, 0) if step < 3 else None


def test_the_next_two_are_made_while_one_is_used():
    made, enough = [], threading.Event()

    def make(step, number):
        made.append((step, number))
        if len(made) == 3:
            enough.set()
        return step, number

    ahead = Prefetcher(make, following)
    assert ahead.take(0, 0) == (0, 0)
    assert enough.wait(10)
    assert made == [(0, 0), (0, 1), (1, 0)]
    assert ahead.take(0, 1) == (0, 1)
    assert ahead.take(3, 0) == (3, 0), "out of turn"
    assert ahead.take(3, 1) == (3, 1)
    ahead.close()
    assert len(made) == len(set(made))


def test_making_them_takes_no_time_from_whoever_is_busy_longer():
    def make(*turn):
        time.sleep(0.02)
        return turn

    ahead = Prefetcher(make, lambda turn: (turn[0] + 1, 0))
    ahead.take(0, 0)
    waited = 0.0
    for step in range(1, 6):
        time.sleep(0.06)
        started = time.perf_counter()
        ahead.take(step, 0)
        waited += time.perf_counter() - started
    ahead.close()
    assert waited < 0.05, "each was made only when it was asked for"


def test_what_goes_wrong_in_making_is_raised_where_it_is_taken():
    def make(step, _):
        if step == 1:
            raise ValueError("a damaged shard")
        return step

    ahead = Prefetcher(make, following)
    assert ahead.take(0, 1) == 0
    with pytest.raises(ValueError, match="a damaged shard"):
        ahead.take(1, 0)
    ahead.close()


def losses(folder, *changes, backend=None, checkpointed=False):
    base = small_base()
    if checkpointed:
        base.enable_gradient_checkpointing()
    if backend is not None:
        compiling.compile_blocks(base, backend)
    trainer = small_trainer(
        folder,
        "optim.steps=3",
        "optim.batch_size=2",
        "id_loss.max_sigma=1",
        "validation.num_images=0",
        *changes,
        frozen=replace(small_frozen(), transformer=base),
    )
    train(trainer)
    trainer.close()
    return [
        [float(row[name]) for name in ("loss", "flow", "id", "nce", "grad_norm")]
        for row in read_rows(folder / "metrics.csv")
    ]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_blocks_with_an_adapter_between_them_give_the_same_losses(tmp_path, checkpointed):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    plain = losses(tmp_path / "plain", checkpointed=checkpointed)
    compiled = losses(tmp_path / "compiled", backend=counter, checkpointed=checkpointed)
    assert counter.frame_count >= 2, "nothing was compiled"
    assert len(counter.graphs) <= 4, "blocks of one kind do not share their code"
    torch.testing.assert_close(torch.tensor(compiled), torch.tensor(plain), rtol=1e-5, atol=1e-6)


def test_swapped_blocks_stay_plain():
    base = small_base()
    swapped = base.transformer_blocks[0]
    swapped.forward = before = swapped.forward
    compiling.compile_blocks(base, "eager")
    assert swapped.forward is before
    assert "forward" in vars(base.single_transformer_blocks[0])


@pytest.mark.parametrize(("device", "words"), [("cuda", "needs triton"), ("cpu", r"needs a C\+\+ compiler")])
def test_a_missing_compiler_is_a_readable_error(monkeypatch, device, words):
    monkeypatch.setattr(compiling, "find_spec", lambda _: None)
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=words + ".*memory.compile_blocks=false"):
        compiling.check_compiler(torch.device(device))
