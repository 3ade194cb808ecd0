"""Where the adapter works, what it reports to ComfyUI that it needs there, and Apple's GPUs."""

from dataclasses import replace

import comfy.model_management
import pytest
import torch
import torch.nn.functional as F
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.comfyui.sampling import applied, difference, person, sample, small_adapter, two_faces
from withanyone_pack.tests.comfyui.small_flux import small_flux
from withanyone_pack.training.memory.counting import LiveBytes
from withanyone_pack.withanyone_core.adapter.attention import attend
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

MPS = torch.device("mps")


def test_the_adapter_goes_to_the_device_of_the_model(base, adapter, monkeypatch):
    second = torch.device("cpu", 0)  # another device than the default one, as far as ComfyUI can tell
    assert second != comfy.model_management.get_torch_device()
    expected = sample(applied(base, adapter))
    encoders, load = [], comfy.model_management.load_models_gpu

    def noted(models, **choices):
        encoders.extend(models)
        load(models, **choices)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", noted)
    base.load_device = second
    patched = applied(base, adapter)
    attentions = patched.get_additional_models_with_key(KEY)
    assert encoders
    assert {model.load_device for model in (*encoders, *attentions)} == {second}
    assert difference(sample(patched), expected) < 1e-5  # other copies of the weights, aligned differently


def memory_asked_for(model, monkeypatch):
    asked = []
    load = comfy.model_management.load_models_gpu

    def spy(models, memory_required=0, minimum_memory_required=None, **choices):
        asked.append((memory_required, minimum_memory_required))
        return load(models, memory_required, minimum_memory_required=minimum_memory_required, **choices)

    with monkeypatch.context() as patch:
        patch.setattr(comfy.model_management, "load_models_gpu", spy)
        sample(model, sigmas=(1.0, 0.0))
    return asked[0]


@pytest.mark.parametrize(
    ("types", "size"),
    [
        ({"dtype": torch.float32}, 4),
        ({"dtype": torch.bfloat16}, 2),
        ({"dtype": torch.float8_e4m3fn, "computed_in": torch.bfloat16}, 2),
    ],
)
def test_keys_and_values_are_in_the_estimate_of_memory(adapter, monkeypatch, types, size):
    base = small_flux(**types)
    one, two = two_faces()
    values = sum(adapter.keys_values(branch, face.identity).numel() for branch in Branch for face in (one, two))
    stacked = applied(applied(base, adapter, (one,)), adapter, (two,))
    plain = memory_asked_for(base, monkeypatch)
    for people in (applied(base, adapter, (one, two)), stacked):
        for with_people, without in zip(memory_asked_for(people, monkeypatch), plain, strict=True):
            assert with_people - without == pytest.approx(values * size)


@pytest.mark.parametrize("branch", list(Branch))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_apply_asks_for_the_memory_that_making_keys_and_values_takes(tmp_path, monkeypatch, branch, dtype):
    """Counted in the pass, at a size at which a page more or less is nothing."""
    shapes = {
        Branch.ARC: replace(ARC, hidden=256, heads=4, layers=9),
        Branch.SIG: replace(SIG, hidden=256, heads=4, layers=9),
    }
    adapter = small_adapter(tmp_path, tuple(shapes.values()), dtype=dtype)
    patcher, asked = adapter.encoder(branch), []
    monkeypatch.setattr(adapter, "encoder", lambda *_: patcher)
    load = comfy.model_management.load_models_gpu

    def spy(models, memory_required=0):
        asked.append(memory_required)
        load(models, memory_required=memory_required)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", spy)
    adapter.keys_values(branch, person(1))
    inputs = [None if value is None else value[None] for value in (person(1).arcface, person(1).siglip)]
    with torch.no_grad(), LiveBytes() as counted:
        patcher.model(inputs[0], inputs[1] if branch is Branch.SIG else None)
    assert counted.peak <= asked[0] <= 1.3 * counted.peak


@pytest.mark.parametrize("count", [1, 8, 9, 40])
def test_on_apple_queries_are_contiguous_and_enough(monkeypatch, count):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(1, count, 2, 64, generator=generator).transpose(1, 2)
    keys, values = torch.randn(2, 1, 2, 12, 64, generator=generator)
    seen = []
    real = F.scaled_dot_product_attention

    def spy(*tensors):
        seen.extend(tensors)
        return real(*tensors)

    expected = attend(queries, keys, values)
    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    assert torch.allclose(attend(queries, keys, values, MPS), expected, atol=1e-6)
    assert all(tensor.is_contiguous() for tensor in seen)
    assert seen[0].shape[2] == max(9, count)


def test_fp8_is_refused_on_apple_with_a_readable_message(base, tmp_path):
    adapter = ComfyAdapter.open(small_adapter(tmp_path).file.path, fp8=True)
    base.load_device = MPS
    with pytest.raises(ValueError, match=r"loaded as fp8, which Apple's GPUs do not have\. Choose dtype"):
        applied(base, adapter)


def test_nothing_that_apple_lacks_is_used_on_the_way(base, adapter, monkeypatch):
    def missing(*_, **__):
        raise NotImplementedError("aten::index_copy_")

    monkeypatch.setattr(torch.Tensor, "index_copy_", missing)
    assert torch.isfinite(sample(applied(base, adapter))).all()
