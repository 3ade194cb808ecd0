from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, random_adapter
from withanyone_pack.tests.adapter.test_lora import factors
from withanyone_pack.withanyone_core.adapter.branches import merge, split
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFileError, inspect_adapter
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import Branch


def saved(path, tensors):
    save_file(tensors, path)
    return inspect_adapter(path)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture
def released(tmp_path):
    return inspect_adapter(random_adapter(tmp_path / "released.safetensors"))


def test_split_and_merged_again_it_is_the_same_file(tmp_path, released):
    halves = [saved(tmp_path / f"{branch.value}.safetensors", split(released, branch)) for branch in Branch]
    assert [(half.layout, list(half.shapes)) for half in halves] == [("single", [Branch.ARC]), ("single", [Branch.SIG])]
    assert equal(merge(halves), load_file(released.path))


def test_unused_parameters_of_a_training_file_are_left_out(tmp_path, released):
    junk = {"siglip_in.0.weight": torch.zeros(256, 32), "siglip_in.0.bias": torch.zeros(256)}
    half = saved(tmp_path / "arc.safetensors", split(released, Branch.ARC) | junk)
    assert equal(merge([half]), {key: value for key, value in load_file(released.path).items() if "_arc" in key})


def test_a_later_branch_replaces_the_released_one(tmp_path, released):
    tuned = inspect_adapter(random_adapter(tmp_path / "tuned.safetensors", shapes=(ARC,), seed=5))
    merged, before, after = merge([released, tuned]), load_file(released.path), load_file(tuned.path)
    assert equal(merged, before | after)
    assert not torch.equal(merged["ipa_arc.0.to_q.weight"], before["ipa_arc.0.to_q.weight"])


def test_a_lora_can_be_baked_in(tmp_path, released):
    save_file(factors(), tmp_path / "lora.safetensors")
    lora = read_lora(tmp_path / "lora.safetensors", released)
    merged, before = merge([released], [lora]), load_file(released.path)
    changed = [key for key in merged if not torch.equal(merged[key], before[key])]
    assert changed == ["ipa_arc.3.to_q.weight"]


def test_a_branch_that_is_not_there_and_files_that_do_not_fit(tmp_path, released):
    alone = inspect_adapter(random_adapter(tmp_path / "alone.safetensors", shapes=(ARC,)))
    with pytest.raises(AdapterFileError, match=r"alone\.safetensors has no sig branch; it holds arc"):
        split(alone, Branch.SIG)
    other = inspect_adapter(random_adapter(tmp_path / "other.safetensors", shapes=(replace(SIG, layers=4),)))
    with pytest.raises(
        AdapterFileError, match=r"width 64 with 5 blocks, other\.safetensors for width 64 with 4 blocks"
    ):
        merge([released, other])
