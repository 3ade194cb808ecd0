"""One step: what is decoded, in which types it computes, and that saving memory changes no number."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.training.scripted_scores import measured
from withanyone_pack.tests.training.small_trainer import (
    HIDDEN,
    LAYERS,
    SIGLIP_WIDTH,
    small_base,
    small_frozen,
    small_trainer,
)

from training.base.quantize import QuantizedLinear, replace_linears
from training.loop import step as step_module
from training.loop.checkpoints import checkpoints, step_of
from training.loop.optimizer import ExponentialMovingAverage, learning_rate
from training.loop.train import train
from training.report.report import finish
from withanyone_core.adapter.shape import BranchShape

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
SIG = replace(ARC, siglip_width=SIGLIP_WIDTH)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("init")
    return random_adapter(folder / "withanyone.safetensors", shapes=(ARC, SIG), dtype=torch.bfloat16)


def base_in(kind):
    base, vae = small_base(), small_frozen().vae
    if kind == "fp8":
        wide = {name: module.weight for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
        biases = {name: base.get_submodule(name).bias for name in wide}
        replace_linears(base, "fp8")
        for name, module in base.named_modules():
            if isinstance(module, QuantizedLinear):
                module.store(wide[name])
                module.bias = biases[name]
        for module in base.modules():
            if not isinstance(module, QuantizedLinear):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.bfloat16()
    else:
        base = base.bfloat16()
    return replace(small_frozen(), transformer=base.requires_grad_(False), vae=vae)


@pytest.mark.parametrize("kind", ["bf16", "fp8"])
@pytest.mark.parametrize("mode", ["full", "kv_out", "lora"])
def test_a_low_precision_base_trains_float32_parameters(tmp_path, released, kind, mode):
    changes = [
        f"adapter.init={released}",
        "adapter.branch=both",
        f"train.mode={mode}",
        "train.rank=2",
        "optim.batch_size=2",
    ]
    trainer = small_trainer(tmp_path, *changes, "id_loss.max_sigma=1", frozen=base_in(kind), dtype=torch.bfloat16)
    before = {name: value.detach().clone() for name, value in trainer.state.adapter.parameters.items()}
    for _ in range(3):
        trainer.step()
    assert trainer.state.progress.skipped == 0
    for value in trainer.state.adapter.parameters.values():
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    changed = [name for name, value in trainer.state.adapter.parameters.items() if not torch.equal(value, before[name])]
    assert len(changed) > 0.9 * len(before)


@pytest.mark.parametrize("change", ["memory.gradient_checkpointing=true", "memory.vae_gradient_checkpointing=true"])
def test_computing_twice_changes_no_gradient(tmp_path, released, change):
    found = []
    for changes in ((), (change,)):
        trainer = small_trainer(
            tmp_path,
            f"adapter.init={released}",
            "id_loss.max_sigma=1",
            "optim.batch_size=2",
            *changes,
            frozen=replace(small_frozen(), transformer=small_base()),
        )
        if trainer.state.settings.memory.gradient_checkpointing:
            trainer.state.frozen.transformer.enable_gradient_checkpointing()
        trainer._accumulate(trainer.state.settings, 0, 0)
        found.append({name: value.grad for name, value in trainer.state.adapter.parameters.items()})
    plain, twice = found
    for name, gradient in plain.items():
        assert torch.allclose(gradient, twice[name], rtol=1e-4, atol=1e-7), name


def test_only_samples_below_the_gate_are_decoded_and_recognized(tmp_path, monkeypatch):
    sizes = []
    whole = step_module.face_embeddings

    def face_embeddings(pixels, *others):
        sizes.append(len(pixels))
        return whole(pixels, *others)

    monkeypatch.setattr(step_module, "face_embeddings", face_embeddings)
    for gate in (0.0, 0.5, 1.0):
        trainer = small_trainer(
            tmp_path / str(gate), "optim.batch_size=8", f"id_loss.max_sigma={gate}", "data.id_dropout=0"
        )
        sizes.clear()
        values = trainer._accumulate(trainer.state.settings, 0, 0)
        used = len(values.get("id", []))
        assert {0.0: sizes == [] and used == 0, 0.5: 0 < sum(sizes) < 8, 1.0: sizes == [8]}[gate], (gate, sizes)


def test_people_left_out_are_not_judged(tmp_path):
    trainer = small_trainer(tmp_path, "data.id_dropout=1", "id_loss.max_sigma=1", "optim.batch_size=2")
    trainer.step()
    assert trainer.state.progress.row["id"] is None
    assert trainer.state.progress.row["faces"] == 0


def test_warm_up_and_cosine(tmp_path):
    optim = small_trainer(tmp_path, "optim.lr=1", "optim.warmup_steps=10", "optim.schedule=cosine").state.settings.optim
    rates = [learning_rate(optim, step, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55, abs=0.01)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_gradients_are_clipped_and_matrices_alone_decay(tmp_path, released):
    trainer = small_trainer(tmp_path, f"adapter.init={released}", "optim.max_grad_norm=0.001", "optim.weight_decay=0.5")
    seen = []
    whole = trainer.state.optimizer.step
    parameters = trainer.state.adapter.parameters.values()
    trainer.state.optimizer.step = lambda: (
        seen.append(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])),
        whole(),
    )
    trainer.step()
    assert float(seen[0]) == pytest.approx(0.001, rel=1e-3)
    assert trainer.state.progress.row["grad_norm"] > 0.01
    for group in trainer.state.optimizer.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}


def test_the_average_is_float32_and_forgets_its_start():
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = ExponentialMovingAverage({"a": parameter}, 0.99)
    for step in range(1, 30):
        with torch.no_grad():
            parameter.fill_(1.0)
        average.update({"a": parameter}, step)
    assert average.tensors["a"].dtype == torch.float32
    assert 0.9 < average.tensors["a"].item() < 1.0


def test_a_run_stops_where_the_validations_say_so_and_its_best_checkpoint_is_the_result(tmp_path):
    series = {0: (0.30, 0.10), 2: (0.40, 0.12), 4: (0.45, 0.14), 6: (0.45, 0.30), 8: (0.44, 0.33)}
    trainer = small_trainer(tmp_path, "optim.steps=40", "validation.every_steps=2", "save.every_steps=2", "save.keep=1")

    def look():
        likeness, copying = series[trainer.state.progress.step]
        trainer.state.progress.measured.append(measured(trainer.state.progress.step, likeness, copying))

    trainer.validate = look
    train(trainer)
    assert trainer.state.progress.step == 8
    assert [step_of(path) for path in checkpoints(tmp_path)] == [4, 8]
    result = finish(trainer)
    assert "The run stopped at step 8: copying rose" in (tmp_path / "report.md").read_text()
    first_line = (tmp_path / "report.md").read_text().splitlines()[0]
    assert re.fullmatch(r"# .*: better than step 0: Sim\(GT\) \+0\.150 \[.*\], copy-paste \+0\.040 \[.*\]", first_line)
    assert "after 4 of 40 steps" in (tmp_path / "report.md").read_text()
    assert result.is_file()


def test_everything_is_in_tensorboard_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = small_trainer(tmp_path, "optim.steps=2", "validation.every_steps=2", "id_loss.max_sigma=1")
    train(trainer)
    trainer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard/metrics")).Reload()
    assert {"loss", "flow", "id", "nce", "cos_target", "cos_reference", "cos_negative", "grad_norm", "lr"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
