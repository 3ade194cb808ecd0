"""Where an adapter's weights lie: an encoder of the file's pages that is let go, LoRAs as patches, fp8 by rows."""

import gc
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_management
import comfy.utils
from withanyone_pack.tests.adapter.random_adapter import file_behind, random_adapter, random_tensors
from withanyone_pack.tests.comfyui.sampling import EVEN, applied, difference, person, sample, small_adapter, two_faces
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFileError, read_part
from withanyone_pack.withanyone_core.adapter.encoder import IdentityEncoder
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui import parts
from withanyone_pack.withanyone_core.injection.comfyui.fp8 import FP8, quantize
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

ARC_ONLY = {Branch.ARC: 1.0}


@pytest.fixture
def reads(monkeypatch):
    """Every part that is read from an adapter file from now on."""
    seen = []

    def noted(file, branch, part, *rest, **more):
        seen.append((branch, part))
        return read(file, branch, part, *rest, **more)

    read = parts.read_part
    monkeypatch.setattr(parts, "read_part", noted)
    return seen


def lora_file(folder, *targets, size=1.0):
    """A LoRA of rank 4 on matrices of the small adapter."""
    generator, tensors, shapes = torch.Generator().manual_seed(8), {}, random_tensors()
    for target in targets:
        left, entered = shapes[f"{target}.weight"].shape
        tensors[f"{target}.lora_A.weight"] = size * torch.randn(4, entered, generator=generator) / 8
        tensors[f"{target}.lora_B.weight"] = size * torch.randn(left, 4, generator=generator)
    save_file(tensors, folder / "lora.safetensors")
    return folder / "lora.safetensors"


def merged(folder, adapter, lora):
    """The adapter with a LoRA added to its file."""
    tensors = {key: lora(key, tensor) for key, tensor in load_file(adapter.file.path).items()}
    save_file(tensors, folder / "merged.safetensors")
    return ComfyAdapter.open(folder / "merged.safetensors")


def living(kind):
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)]


@pytest.mark.parametrize("branch", [Branch.ARC, Branch.SIG])
def test_the_encoders_weights_are_the_pages_of_their_file(adapter, branch):
    weights = adapter.encoder(branch).model.state_dict()
    assert {file_behind(weight) for weight in weights.values()} == {adapter.file.path.name}


@pytest.mark.parametrize("branches", [tuple(Branch), (Branch.ARC,)])
def test_the_attention_owns_its_memory_and_no_more_than_its_file_has(adapter, branches):
    """It is folded, so its pages cannot be the file's; nothing else of the file stays with it."""
    module = adapter.attention(branches).model
    kept = [*module.state_dict().values()]
    kept += [tensor for layer in module for norm in layer.norms for tensor in (norm.weight, norm.bias)]
    assert adapter.file.path.name not in {file_behind(tensor) for tensor in kept}
    stored = [read_part(adapter.file, branch, "attention") for branch in branches]
    biases = sum(layer.to_q.bias.nbytes for layer in module)
    assert sum(tensor.nbytes for tensor in kept) - biases == sum(
        each.nbytes for part in stored for each in part.values()
    )


def test_a_file_that_was_written_over_since_changes_nothing_until_it_is_loaded_again(base, adapter):
    """ComfyUI loads it again with the next prompt."""
    patched, path = applied(base, adapter), adapter.file.path
    before = sample(patched)
    random_adapter(path.with_name("other.safetensors"), seed=9).replace(path)
    assert torch.equal(sample(patched), before)  # another file took the name
    adapter = ComfyAdapter.open(path)
    patched = applied(base, adapter)
    second = sample(patched)
    path.write_bytes(save(random_tensors(seed=10)))
    assert torch.equal(sample(patched), second)
    with pytest.raises(AdapterFileError, match=r"adapter\.safetensors was changed or removed after it had been opened"):
        applied(base, adapter, (replace(two_faces()[0], identity=person(9)),))
    assert difference(sample(applied(base, ComfyAdapter.open(path))), before) > 0.02


def test_weights_are_copies_where_the_user_switched_maps_off(adapter, monkeypatch):
    monkeypatch.setattr(comfy.utils, "DISABLE_MMAP", True)
    weights = adapter.encoder(Branch.ARC).model.state_dict()
    assert adapter.file.path.name not in {file_behind(weight) for weight in weights.values()}


def test_the_encoder_is_let_go_when_everybody_is_encoded(base, adapter, reads):
    sample(applied(base, adapter))
    assert living(IdentityEncoder) == []
    loaded = [type(each.model.model) for each in comfy.model_management.current_loaded_models if each.model]
    assert IdentityEncoder not in loaded
    # Two people, one encoder each branch.
    assert sorted(reads) == sorted((branch, part) for branch in EVEN for part in ("encoder", "attention"))


def test_people_who_are_known_cost_no_encoder(base, adapter, reads):
    faces = two_faces()
    first = sample(applied(base, adapter, faces))
    reads.clear()
    assert torch.equal(sample(applied(base, adapter, faces)), first)
    assert reads == []
    newcomer = replace(faces[1], identity=person(5))
    sample(applied(base, adapter, (faces[0], newcomer)))
    assert sorted(reads) == [(Branch.ARC, "encoder"), (Branch.SIG, "encoder")]


def test_a_person_placed_twice_is_encoded_once(base, adapter, reads):
    first, second = two_faces()
    twice = (first, replace(second, identity=first.identity))
    alone = ComfyAdapter(adapter.file)
    expected = alone.keys_values(Branch.ARC, first.identity)
    assert all(torch.equal(made, expected) for made in adapter.all_keys_values(Branch.ARC, [first.identity] * 2))
    assert difference(sample(applied(base, adapter, twice)), sample(base)) > 0.02


@pytest.mark.parametrize("targets", [("ipa_arc.2.to_out", "ipa_arc.0.to_q"), ("ipa_sig.1.to_kv", "ipa_arc.4.to_q")])
def test_another_strength_reads_no_weights_again_and_is_exact(base, adapter, tmp_path, reads, targets):
    path, faces = lora_file(tmp_path, *targets), two_faces()
    plain = sample(applied(base, adapter, faces))
    half = sample(applied(base, adapter.with_lora(read_lora(path, adapter.file, 0.5)), faces))
    reads.clear()
    lora = read_lora(path, adapter.file, 0.9)
    trained = adapter.with_lora(lora)
    changed = sample(applied(base, trained, faces))
    changes_encoder = any("to_kv" in target for target in targets)
    # Only an encoder that the LoRA changes has to make its keys and values again.
    assert reads == ([(Branch.SIG, "encoder")] if changes_encoder else [])
    assert difference(changed, sample(applied(base, merged(tmp_path, adapter, lora), faces))) < 1e-5
    assert difference(changed, half) > 1e-3
    assert torch.equal(sample(applied(base, adapter, faces)), plain)
    assert torch.equal(sample(applied(base, trained, faces)), changed)


def test_added_and_merged_matrices_are_bf16_roundings_of_the_same_sum(tmp_path):
    """A LoRA added on the fly and one merged into a file are each within half a unit in the last place of the sum.

    Query projections are folded with a norm, so there it is one rounding more: of the folded matrix without the LoRA
    where it is added, of the sum before the norm where it is merged.
    """
    half_a_unit = 2.0**-8
    adapter = ComfyAdapter.open(random_adapter(tmp_path / "bf16.safetensors", dtype=torch.bfloat16))
    targets = [f"ipa_arc.{layer}.{name}" for layer in range(5) for name in ("to_q", "to_out")]
    lora = read_lora(lora_file(tmp_path, *targets, size=0.3), adapter.file, 0.9)
    added, joined = adapter.with_lora(lora), merged(tmp_path, adapter, lora)
    patchers = [each.attention((Branch.ARC,)) for each in (added, joined)]
    patchers[0].patch_model()
    tensors = load_file(adapter.file.path)
    for number in range(5):
        norm = tensors[f"ipa_arc.{number}.norm2.weight"].double()
        for name, factor in (("to_q", norm), ("to_out", torch.ones(()).double())):
            key = f"ipa_arc.{number}.{name}.weight"
            before, update = tensors[key].double() * factor, lora.updates[key]
            change = 0.9 * (update.up.double() @ update.down.double()) * factor
            once = half_a_unit * (before + change).abs()
            bound = once if name == "to_out" else once + half_a_unit * torch.maximum(before.abs(), once / half_a_unit)
            for patcher in patchers:
                weight = getattr(patcher.model[number], name).weight.double()
                assert ((weight - before - change).abs() <= 1.01 * bound + 1e-6).all(), key
            assert change.abs().mean() > 4 * bound.mean(), key  # a change that rounding cannot hide
    patchers[0].unpatch_model()


def test_loras_add_up(base, adapter, tmp_path):
    path = lora_file(tmp_path, "ipa_arc.2.to_out", "ipa_sig.0.to_q")
    twice = adapter.with_lora(read_lora(path, adapter.file, 0.3)).with_lora(read_lora(path, adapter.file, 0.4))
    once = adapter.with_lora(read_lora(path, adapter.file, 0.7))
    assert difference(sample(applied(base, twice)), sample(applied(base, once))) < 1e-5


def test_two_strengths_of_one_adapter_work_in_one_model(base, adapter, tmp_path):
    """Each on a person of its own. One module cannot hold both patches, so the second gets weights of its own."""
    path = lora_file(tmp_path, "ipa_arc.2.to_out", "ipa_arc.0.to_q")
    first, second = two_faces()
    together = applied(base, adapter, (first,), ARC_ONLY)
    trained = adapter.with_lora(read_lora(path, adapter.file, 1.0))
    together = applied(together, trained, (second,), ARC_ONLY)
    apart = applied(base, ComfyAdapter(adapter.file), (first,), ARC_ONLY)
    apart = applied(apart, merged(tmp_path, adapter, trained.loras[0]), (second,), ARC_ONLY)
    assert len(together.get_additional_models_with_key(KEY)) == 2
    assert difference(sample(together), sample(apart)) < 1e-5
    # The first adapter once more finds its own weights again.
    third = applied(together, adapter, (second,), ARC_ONLY)
    assert len(third.get_additional_models_with_key(KEY)) == 2


def test_a_lora_works_where_weights_are_cast_as_they_are_used(base, adapter, tmp_path):
    path = lora_file(tmp_path, "ipa_arc.2.to_out")
    patched = applied(base, adapter.with_lora(read_lora(path, adapter.file, 1.0)), None, ARC_ONLY)
    expected = sample(patched)
    attention = patched.get_additional_models_with_key(KEY)[0]
    attention.unpatch_model()
    attention.load(attention.load_device, lowvram_model_memory=1)
    assert attention.model[2].to_out.weight_function
    assert difference(sample(patched), expected) < 1e-5


def test_a_lora_that_overflows_its_type_is_refused_by_key(base, tmp_path):
    adapter = small_adapter(tmp_path, dtype=torch.float16)
    path = lora_file(tmp_path, "ipa_arc.3.to_q", size=2000.0)
    with pytest.raises(AdapterFileError, match=r"adapter\.safetensors: ipa_arc\.3\.to_q\.weight becomes NaN or infin"):
        applied(base, adapter.with_lora(read_lora(path, adapter.file, 1.0)))


def rms(values):
    return values.double().square().mean().sqrt()


def test_fp8_scales_its_rows():
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(64, 256, generator=generator) * torch.logspace(-6, 3, 64)[:, None]
    weight[7] = 0.0
    stored, scale = quantize(weight)
    assert stored.dtype == FP8
    back = stored.float() * scale[:, None]
    errors = torch.stack([rms(back[row] - weight[row]) / rms(weight[row]) for row in range(64) if row != 7])
    assert errors.max() < 0.03
    assert back[7].eq(0).all()
    assert stored.float().abs().amax(dim=1).max() <= 56
    # Powers of two: nothing is lost by multiplying, in whatever type the image stream has.
    assert torch.equal(scale.log2(), scale.log2().round())


def test_fp8_is_for_the_attention_and_rounds_nothing_else(base, tmp_path):
    exact = small_adapter(tmp_path)
    rounded = ComfyAdapter.open(exact.file.path, fp8=True)
    who = person(1)
    for branch in EVEN:
        assert torch.equal(rounded.keys_values(branch, who), exact.keys_values(branch, who))
        dtypes = {name: weight.dtype for name, weight in rounded.attention((branch,)).model.state_dict().items()}
        assert {name.split(".", 1)[1] for name, dtype in dtypes.items() if dtype == FP8} == {
            "to_q.weight",
            "to_out.weight",
        }
    assert 0 < difference(sample(applied(base, rounded)), sample(applied(base, exact))) < 0.05


def test_fp8_takes_rows_of_any_size(base, tmp_path):
    """Small weights would vanish below the least that fp8 holds, and these are as small as trained ones can be."""
    tensors = random_tensors()
    for key, tensor in tensors.items():
        if key.endswith("to_out.weight"):
            tensor *= 1e-4
        elif key.endswith("to_kv.weight"):
            tensor[len(tensor) // 2 :] *= 1e4  # the values; keys as they are
    save_file(tensors, tmp_path / "adapter.safetensors")
    exact, rounded = (ComfyAdapter.open(tmp_path / "adapter.safetensors", fp8) for fp8 in (False, True))
    plain = sample(base)
    effect = sample(applied(base, exact)) - plain
    assert rms(sample(applied(base, rounded)) - plain - effect) / rms(effect) < 0.2


@pytest.mark.parametrize("lowvram", [False, True])
def test_a_lora_on_an_fp8_adapter_changes_it_by_as_much(base, tmp_path, lowvram):
    exact = small_adapter(tmp_path)
    rounded = ComfyAdapter.open(exact.file.path, fp8=True)
    path = lora_file(tmp_path, *(f"ipa_arc.{layer}.{name}" for layer in range(5) for name in ("to_q", "to_out")))
    effects = []
    for adapter in (exact, rounded):
        before = sample(applied(base, adapter, None, ARC_ONLY))
        patched = applied(base, adapter.with_lora(read_lora(path, adapter.file, 0.5)), None, ARC_ONLY)
        if lowvram and adapter is rounded:
            attention = patched.get_additional_models_with_key(KEY)[0]
            attention.unpatch_model()
            attention.load(attention.load_device, lowvram_model_memory=1)
        effects.append(sample(patched) - before)
    assert rms(effects[1] - effects[0]) / rms(effects[0]) < 0.3
