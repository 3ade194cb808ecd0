import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, file_behind, random_adapter, random_tensors
from withanyone_pack.withanyone_core.adapter.attention import IdentityAttention
from withanyone_pack.withanyone_core.adapter.checkpoint import (
    AdapterFileError,
    fingerprint,
    inspect_adapter,
    read_part,
)
from withanyone_pack.withanyone_core.adapter.encoder import IdentityEncoder
from withanyone_pack.withanyone_core.adapter.face_model import face_model_of
from withanyone_pack.withanyone_core.adapter.network import AdapterNetwork
from withanyone_pack.withanyone_core.adapter.shape import Branch


def saved(tmp_path, tensors, name="adapter.safetensors"):
    save_file(tensors, tmp_path / name)
    return tmp_path / name


def test_dual_file_shows_both_branches_and_every_size(tmp_path):
    file = inspect_adapter(random_adapter(tmp_path / "a.safetensors"))
    assert file.layout == "dual"
    assert file.shapes == {Branch.ARC: ARC, Branch.SIG: SIG}
    assert not file.truncates_boxes


def test_dual_file_may_hold_one_branch(tmp_path):
    file = inspect_adapter(random_adapter(tmp_path / "a.safetensors", shapes=(SIG,)))
    assert list(file.shapes) == [Branch.SIG]


@pytest.mark.parametrize(("shape", "branch"), [(ARC, Branch.ARC), (SIG, Branch.SIG)])
def test_single_file_is_told_apart_by_its_siglip_projector(tmp_path, shape, branch):
    file = inspect_adapter(random_adapter(tmp_path / "a.safetensors", shapes=(shape,), layout="single"))
    assert (file.layout, file.shapes) == ("single", {branch: shape})
    assert file.truncates_boxes


def test_single_arc_file_with_the_dead_pooled_projector_is_an_arc_file(tmp_path):
    tensors = random_tensors((ARC,), "single")
    tensors["siglip_in.0.weight"] = torch.zeros(4 * ARC.hidden, 32)
    tensors["siglip_in.3.weight"] = torch.zeros(8 * ARC.hidden, 4 * ARC.hidden)
    assert inspect_adapter(saved(tmp_path, tensors)).shapes == {Branch.ARC: ARC}


def test_dead_tensors_of_the_training_program_are_dropped(tmp_path):
    tensors = random_tensors()
    tensors["siglip_in_arc.0.weight"] = torch.zeros(3, 3)
    tensors["learnable_query"] = torch.zeros(32, 64)
    file = inspect_adapter(saved(tmp_path, tensors))
    assert not any("siglip" in key for key in read_part(file, Branch.ARC, "encoder"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_parts_come_in_the_stored_type_and_fit_their_modules(tmp_path, dtype):
    file = inspect_adapter(random_adapter(tmp_path / "a.safetensors", dtype=dtype))
    for branch, shape in file.shapes.items():
        for part, module in (("encoder", IdentityEncoder(shape)), ("attention", IdentityAttention(shape))):
            tensors = read_part(file, branch, part)
            module.load_state_dict(tensors, strict=True)
            assert {tensor.dtype for tensor in tensors.values()} == {dtype}


def test_reading_leaves_the_file_free_to_be_replaced(tmp_path):
    path = random_adapter(tmp_path / "a.safetensors")
    before = read_part(inspect_adapter(path), Branch.ARC, "attention")["0.to_q.weight"]
    kept = before.clone()
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\0" * 4096)
    random_adapter(path, seed=1)
    assert torch.equal(before, kept)


def test_missing_and_misshaped_and_unexpected_keys_are_named(tmp_path):
    tensors = random_tensors()
    del tensors["ipa_sig.3.to_q.weight"]
    tensors["ipa_arc.2.norm1.bias"] = torch.zeros(7)
    tensors["something.else"] = torch.zeros(1)
    with pytest.raises(AdapterFileError) as error:
        inspect_adapter(saved(tmp_path, tensors))
    words = str(error.value)
    assert "1 missing: ipa_sig.3.to_q.weight" in words
    assert "ipa_arc.2.norm1.bias has [7], expected [64]" in words
    assert "1 unexpected: something.else" in words


UNKNOWN = {
    "scale": torch.tensor(0.5),
    "global_step": torch.tensor(90000),
    "ipa_sig.scale": torch.ones(1),
    "ipa_arc.7.gate": torch.ones(1),
    "position_table.weight": torch.full((3, 64), float("nan")),
    "arcface_in_arc.1.weight": torch.ones(2, dtype=torch.int8),
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_a_tensor_that_nobody_expected_is_left_out(tmp_path, key):
    plain = inspect_adapter(random_adapter(tmp_path / "plain.safetensors"))
    file = inspect_adapter(saved(tmp_path, random_tensors() | {key: UNKNOWN[key]}))
    assert file.unknown == (key,)
    assert (file.layout, file.shapes, file.dtype) == (plain.layout, plain.shapes, plain.dtype)
    for branch in file.shapes:
        for part in ("encoder", "attention"):
            ours, theirs = read_part(file, branch, part), read_part(plain, branch, part)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_tensors_left_out_are_named_once_for_who_loads_the_file(tmp_path, caplog):
    file = inspect_adapter(saved(tmp_path, random_tensors() | UNKNOWN))
    assert caplog.records == []
    AdapterNetwork.load(file)
    (record,) = caplog.records
    assert "adapter.safetensors holds 6 tensors that WithAnyone does not know and leaves out" in record.getMessage()
    assert all(key in record.getMessage() for key in UNKNOWN)


def test_the_dead_tensors_of_the_training_program_are_no_news(tmp_path, caplog):
    tensors = random_tensors() | {"siglip_in_arc.0.weight": torch.zeros(3, 3), "learnable_query": torch.zeros(32, 64)}
    file = inspect_adapter(saved(tmp_path, tensors))
    AdapterNetwork.load(file)
    assert (file.unknown, caplog.records) == ((), [])


@pytest.mark.parametrize("key", ["arcface_in_sig.0.weight", "siglip_in_sig.3.bias", "ipa_sig.0.to_q.weight"])
def test_leftovers_of_a_branch_are_a_branch_that_is_not_complete(tmp_path, key):
    """They are the adapter's own tensors: left out, they would hide that the rest is missing."""
    tensors = random_tensors((ARC,)) | {key: random_tensors()[key]}
    with pytest.raises(AdapterFileError, match=r"not complete: .*_sig.*is missing"):
        inspect_adapter(saved(tmp_path, tensors))


def test_a_file_of_unknown_tensors_alone_is_no_adapter(tmp_path):
    with pytest.raises(AdapterFileError, match="not a WithAnyone adapter"):
        inspect_adapter(saved(tmp_path, {"ipa_arc.scale": torch.ones(1)}))


def test_a_long_list_of_missing_keys_is_cut(tmp_path):
    tensors = {key: value for key, value in random_tensors().items() if ".norm2." not in key}
    with pytest.raises(AdapterFileError, match=r"20 missing: .* and 12 more"):
        inspect_adapter(saved(tmp_path, tensors))


@pytest.mark.parametrize("key", ["double_blocks.0.img_attn.qkv.weight", "model.diffusion_model.img_in.weight"])
def test_a_file_that_would_override_flux_is_refused(tmp_path, key):
    with pytest.raises(AdapterFileError, match=f"weights of FLUX itself .*{key}.* override the base model"):
        inspect_adapter(saved(tmp_path, {**random_tensors(), key: torch.zeros(2, 2)}))


def test_a_foreign_file_is_refused_by_what_it_holds(tmp_path):
    with pytest.raises(AdapterFileError, match=r"not a WithAnyone adapter: no key starts with .*pulid_ca\.0\.weight"):
        inspect_adapter(saved(tmp_path, {"pulid_ca.0.weight": torch.zeros(2)}))


def test_a_truncated_file_is_refused_as_a_broken_download(tmp_path):
    path = random_adapter(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AdapterFileError, match=r"not a whole safetensors file .*fetch it again"):
        inspect_adapter(path)


def test_pickles_are_refused_unopened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exit, ())

    path = tmp_path / "adapter.pt"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(AdapterFileError, match="safetensors files only"):
        inspect_adapter(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no adapter file at .*gone\.safetensors"):
        inspect_adapter(tmp_path / "gone.safetensors")


def written_over(path):
    """Other weights under the same header, and the old date."""
    state = path.stat()
    path.write_bytes(save(random_tensors(seed=7)))
    assert (path.stat().st_size, path.stat().st_ino) == (state.st_size, state.st_ino)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def renamed_over(path):
    random_adapter(path.with_name("new.safetensors"), seed=7).replace(path)


def of_another_size(path):
    random_adapter(path, shapes=(replace(ARC, hidden=128), replace(SIG, hidden=128)))


@pytest.mark.parametrize("change", [written_over, renamed_over, of_another_size, Path.unlink])
def test_parts_of_a_file_that_took_its_place_are_never_read(tmp_path, change):
    path = random_adapter(tmp_path / "a.safetensors")
    file = inspect_adapter(path)
    read_part(file, Branch.ARC, "encoder")
    change(path)
    for read in (
        lambda: read_part(file, Branch.ARC, "attention"),
        lambda: read_part(file, Branch.SIG, "encoder", mapped=True),
        lambda: fingerprint(file),
        lambda: face_model_of(file),
        lambda: AdapterNetwork.load(file),
    ):
        with pytest.raises(AdapterFileError, match=r"a\.safetensors was changed or removed after it had been opened"):
            read()


def test_mapped_parts_are_the_same_numbers_and_are_checked_too(tmp_path):
    tensors = random_tensors()
    file = inspect_adapter(saved(tmp_path, tensors))
    own, mapped = read_part(file, Branch.SIG, "encoder"), read_part(file, Branch.SIG, "encoder", mapped=True)
    assert all(torch.equal(own[name], mapped[name]) for name in own)
    assert {file_behind(tensor) for tensor in mapped.values()} == {file.path.name}
    assert file.path.name not in {file_behind(tensor) for tensor in own.values()}
    tensors["arcface_in_sig.0.weight"][0, 0] = float("-inf")
    with pytest.raises(AdapterFileError, match=r"arcface_in_sig\.0\.weight holds NaN or infinite"):
        read_part(inspect_adapter(saved(tmp_path, tensors, "b.safetensors")), Branch.SIG, "encoder", mapped=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_key(tmp_path, value):
    tensors = random_tensors()
    tensors["ipa_arc.1.to_q.weight"][3, 3] = value
    file = inspect_adapter(saved(tmp_path, tensors))
    read_part(file, Branch.SIG, "attention")
    with pytest.raises(AdapterFileError, match=r"ipa_arc\.1\.to_q\.weight holds NaN or infinite"):
        read_part(file, Branch.ARC, "attention")


def test_integer_weights_are_refused(tmp_path):
    tensors = random_tensors()
    tensors["ipa_arc.0.to_q.weight"] = tensors["ipa_arc.0.to_q.weight"].to(torch.int8)
    with pytest.raises(AdapterFileError, match=r"F32, F16 or BF16, but ipa_arc\.0\.to_q\.weight is I8"):
        inspect_adapter(saved(tmp_path, tensors))
