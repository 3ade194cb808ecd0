"""Results: what Load WithAnyone Adapter and Add Adapter LoRA open, and the report beside them."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.training.small_trainer import HIDDEN, LAYERS, SIGLIP_WIDTH, small_trainer

from training.export import main as export
from training.loop.checkpoints import checkpoints
from training.loop.train import train
from training.report.report import finish
from training.report.result import exported, header_of
from withanyone_core.adapter.checkpoint import AdapterFileError, inspect_adapter
from withanyone_core.adapter.lora import read_lora
from withanyone_core.adapter.shape import Branch, BranchShape

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
SIG = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512, siglip_width=SIGLIP_WIDTH)
SHORT = ("optim.steps=2", "validation.every_steps=1", "save.every_steps=1", "optim.weight_decay=0.1", "optim.lr=1e-2")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return random_adapter(
        tmp_path_factory.mktemp("init") / "withanyone.safetensors", shapes=(ARC, SIG), dtype=torch.bfloat16
    )


def finished(folder, *changes):
    trainer = small_trainer(folder, *SHORT, *changes)
    train(trainer)
    path = finish(trainer)
    trainer.close()
    return path


def test_full_training_of_a_branch_gives_the_whole_file_with_that_branch_replaced(tmp_path, released):
    path = finished(tmp_path, f"adapter.init={released}", "adapter.branch=sig")
    before, after = load_file(released), load_file(path)
    assert inspect_adapter(path).shapes == inspect_adapter(released).shapes
    assert before.keys() == after.keys()
    for key, value in before.items():
        is_sig = key.split(".")[0].endswith("_sig")
        assert torch.equal(value, after[key]) != is_sig, key
    assert inspect_adapter(path).dtype == torch.bfloat16


def test_kv_out_changes_keys_values_and_outputs_alone(tmp_path, released):
    path = finished(tmp_path, f"adapter.init={released}", "train.mode=kv_out")
    before, after = load_file(released), load_file(path)
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed == {
        key for key in before if key.startswith("ipa_arc") and key.endswith(("to_kv.weight", "to_out.weight"))
    }


def test_a_lora_is_small_and_fits_its_adapter_and_merged_equals_added(tmp_path, released):
    path = finished(tmp_path, f"adapter.init={released}", "train.mode=lora", "train.rank=2")
    assert path.name == "lora.safetensors"
    file = inspect_adapter(released)
    lora = read_lora(path, file)
    assert path.stat().st_size < released.stat().st_size / 3
    checkpoint = checkpoints(tmp_path)[-1]
    merged, before = exported(checkpoint, released, merged=True), load_file(released)
    changed = {key for key, value in before.items() if not torch.equal(value, merged[key])}
    assert changed
    assert changed <= set(lora.updates)
    for key in changed:
        assert torch.equal(merged[key], lora(key, before[key]))


def test_fresh_weights_give_an_adapter_of_one_branch(tmp_path):
    path = finished(tmp_path)
    assert inspect_adapter(path).shapes.keys() == {Branch.ARC}


def test_the_header_tells_the_recipe_the_data_and_the_numbers_but_not_the_machine(tmp_path, released):
    path = finished(tmp_path, f"adapter.init={released}")
    with safe_open(path, framework="pt") as reader:
        header = reader.metadata()
    recipe = json.loads(header["withanyone.recipe"])
    assert recipe["optim"]["lr"] == 0.01
    assert recipe["adapter"]["init"] == "withanyone.safetensors"
    assert str(tmp_path) not in json.dumps(header)
    assert header["withanyone.data"] == "0" * 64
    numbers = json.loads(header["withanyone.numbers"])
    assert (numbers["before"]["step"], numbers["after"]["step"]) == (0, 2)
    assert header["modelspec.sai_model_spec"] == "1.0.1"


def test_the_header_tells_whose_face_embeddings_the_adapter_knows(tmp_path):
    settings = {"out": str(tmp_path / "run"), "id_loss": {"recognizer": str(tmp_path / "antelopev2/glintr100.onnx")}}
    assert header_of(settings, 2, "", [], lora=False)["face_model"] == "antelopev2/glintr100.onnx"
    assert "face_model" not in header_of(settings | {"id_loss": {"recognizer": None}}, 2, "", [], lora=False)


def test_the_report_has_a_table_curves_and_images(tmp_path):
    finished(tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "| validation |" in report
    assert "No judge was named" in report
    for line in report.split("](")[1:]:
        assert (tmp_path / line.split(")")[0]).is_file()
    curves = (tmp_path / "curves.svg").read_text()
    assert curves.count("<polyline") >= 4
    assert "flow loss on held-out photos" in curves


def test_export_writes_what_finetune_did(tmp_path, released, capsys):
    path = finished(tmp_path / "run", f"adapter.init={released}")
    assert export([str(checkpoints(tmp_path / "run")[-1]), "--out", str(tmp_path / "again.safetensors")]) == 0
    again, result = load_file(tmp_path / "again.safetensors"), load_file(path)
    assert again.keys() == result.keys()
    assert all(torch.equal(value, again[key]) for key, value in result.items())
    assert export([str(tmp_path), "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "is no checkpoint of finetune.py" in capsys.readouterr().err


def test_an_adapter_of_the_wrong_kind_is_refused_with_a_readable_message(tmp_path, released):
    wide = random_adapter(tmp_path / "wide.safetensors", shapes=(BranchShape(128, 2, LAYERS, 4, 512),))
    arc_only = random_adapter(tmp_path / "arc.safetensors", shapes=(ARC,))
    other_face = random_adapter(tmp_path / "face.safetensors", shapes=(BranchShape(HIDDEN, 2, LAYERS, 4, 128),))
    for changes, words in (
        ([f"adapter.init={wide}"], "made for a model of width 128"),
        ([f"adapter.init={arc_only}", "adapter.branch=sig"], "has no sig branch"),
        ([f"adapter.init={other_face}"], "reads face embeddings of 128 numbers; the cache holds 512"),
    ):
        with pytest.raises(ValueError, match=words):
            small_trainer(tmp_path / "run", *changes)
    flux = tmp_path / "flux.safetensors"
    from safetensors.torch import save_file

    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2)}, flux)
    with pytest.raises(AdapterFileError, match="is not a WithAnyone adapter"):
        small_trainer(tmp_path / "run", f"adapter.init={flux}")


@pytest.mark.parametrize("mode", ["full", "kv_out", "lora"])
@pytest.mark.parametrize("branch", ["arc", "sig", "both"])
def test_gradients_reach_every_trained_tensor_and_no_frozen_one(tmp_path, released, mode, branch):
    trainer = small_trainer(
        tmp_path,
        f"adapter.init={released}",
        f"train.mode={mode}",
        f"adapter.branch={branch}",
        "train.rank=2",
        "optim.batch_size=4",
        "data.id_dropout=0",
        "train.targets=[to_q, to_kv, to_out, arcface_in]",
    )
    for name, parameter in trainer.state.adapter.parameters.items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter)  # at its start of 0 no gradient passes to A
    trainer._accumulate(trainer.state.settings, 0, 0)
    for name, parameter in trainer.state.adapter.parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    trained = set(map(id, trainer.state.adapter.parameters.values()))
    frozen = [
        trainer.state.frozen.transformer,
        trainer.state.frozen.vae,
        trainer.state.frozen.recognizer,
        trainer.state.adapter.network,
    ]
    for module in frozen:
        for parameter in module.parameters():
            assert id(parameter) in trained or parameter.grad is None
    trainer.close()
