"""Number types, devices, torch.compile, a ControlNet, a LoRA of the adapter, files of one branch."""

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.adapter.branch_by_branch import residual as of_branch
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.comfyui.sampling import applied, difference, person, prompt, sample, small_adapter, two_faces
from withanyone_pack.tests.comfyui.small_flux import SMALL, flux_parameters, small_flux
from withanyone_pack.withanyone_core.adapter.attention import AttentionLayer
from withanyone_pack.withanyone_core.adapter.checkpoint import read_part
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui.forward import Forward
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY
from withanyone_pack.withanyone_core.injection.comfyui.keys_values import DeviceKeysValues
from withanyone_pack.withanyone_core.injection.comfyui.region_tokens import Group, RegionTokens


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_bases_run_in_their_own_type(adapter, dtype):
    base = small_flux(dtype=dtype)
    exact = sample(applied(small_flux(), adapter))
    assert difference(sample(applied(base, adapter)).float(), exact) < 0.1


def test_a_float16_stream_near_its_limit_stays_finite(adapter):
    """FLUX's own stream reaches five digits; what the adapter adds may pass the largest float16."""
    known = person(1)
    keys_values = adapter.keys_values(Branch.ARC, known).half()
    regions = [RegionTokens(torch.arange(2, 8), None, (Group(((0,),), 6),), slice(0, 2))]
    attention = adapter.attention((Branch.ARC,)).model
    forward = Forward(regions, 1.0, attention, lambda like: DeviceKeysValues([[keys_values]], [[200.0]], like))
    signs = torch.randn(2, 12, 64, generator=torch.Generator().manual_seed(3)).sign()
    stream = (65504 * signs).half()
    before = stream.clone()
    forward.add_people(stream, layer=0, first=2)
    assert stream.isfinite().all()
    assert torch.equal(stream[:, :4], before[:, :4])
    assert torch.equal(stream[:, 10:], before[:, 10:])
    layer = AttentionLayer(ARC)
    state = read_part(adapter.file, Branch.ARC, "attention")
    layer.load_state_dict({name: state[f"0.{name}"] for name in layer.state_dict()})
    with torch.no_grad():
        residual = 200.0 * of_branch(layer, before[:, 4:10].float(), (6,), [keys_values[0].float()])
    assert torch.allclose(stream[:, 4:10].float(), (before[:, 4:10] + residual).clamp(-65504, 65504), atol=64)
    assert (residual + before[:, 4:10]).abs().max() > 65520  # or the limit was not tried


def test_an_fp8_base_is_no_different(adapter):
    base = small_flux(dtype=torch.float8_e4m3fn, computed_in=torch.float32)
    out = sample(applied(base, adapter))
    assert torch.isfinite(out).all()
    assert difference(out, sample(base)) > 0.02


def test_fp8_halves_the_matrices_of_the_adapter_and_stays_close(base, tmp_path):
    from withanyone_pack.withanyone_core.injection.comfyui.fp8 import FP8
    from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

    exact = small_adapter(tmp_path)
    rounded = ComfyAdapter.open(exact.file.path, fp8=True)
    one, two = sample(applied(base, exact)), sample(applied(base, rounded))
    assert rounded.attention((Branch.ARC,)).model[0].to_q.weight.dtype == FP8
    assert rounded.encoder(Branch.ARC).model.layers[0].norm1.weight.dtype == torch.float32
    assert 0 < difference(two, one) < 0.25


def test_a_half_precision_file_agrees_with_a_full_one(base, tmp_path):
    for name in ("half", "full"):
        (tmp_path / name).mkdir()
    half = small_adapter(tmp_path / "half", dtype=torch.bfloat16)
    full = small_adapter(tmp_path / "full")
    assert half.keys_values(Branch.ARC, person(1)).dtype == torch.bfloat16
    assert difference(sample(applied(base, half)), sample(applied(base, full))) < 0.05


def test_parts_that_do_not_fit_on_the_device_are_cast_as_they_are_used(base, adapter):
    patched = applied(base, adapter)
    expected = sample(patched)
    attention = patched.get_additional_models_with_key(KEY)[0]
    attention.load(attention.load_device, lowvram_model_memory=1)
    assert any(getattr(layer, "comfy_cast_weights", False) for layer in attention.model.modules())
    assert torch.equal(sample(patched), expected)


@pytest.mark.parametrize("base", ["flux.1"], indirect=True)  # ComfyUI has no ControlNet class for FLUX.2
def test_a_controlnet_works_beside_it(base, adapter):
    control = small_controlnet()
    image = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(4))
    extras = {"control": control.copy().set_cond_hint(image, 1.0, (0.0, 1.0)), "control_apply_to_uncond": True}
    with_both = sample(applied(base, adapter), prompt(0, **extras), prompt(1))
    assert difference(with_both, sample(applied(base, adapter))) > 1e-3
    assert difference(with_both, sample(base, prompt(0, **extras), prompt(1))) > 1e-3


def small_controlnet():
    import comfy.controlnet
    import comfy.ops
    from comfy.ldm.flux.controlnet import ControlNetFlux

    sizes = flux_parameters({**SMALL, "depth": 1, "depth_single_blocks": 1})
    model = ControlNetFlux(latent_input=False, operations=comfy.ops.manual_cast, dtype=torch.float32, **sizes)
    generator = torch.Generator().manual_seed(6)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return comfy.controlnet.ControlNet(model, load_device=torch.device("cpu"), extra_conds=["y", "guidance"])


def test_newer_comfyui_gets_its_own_kind_of_patcher_and_a_factory_for_further_gpus(base, tmp_path, monkeypatch):
    import comfy.model_patcher

    class Dynamic(comfy.model_patcher.ModelPatcher):
        cached_patcher_init = None

    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Dynamic, raising=False)
    adapter = small_adapter(tmp_path)
    patcher = adapter.attention(tuple(Branch))
    assert type(patcher) is Dynamic
    factory, arguments = patcher.cached_patcher_init
    copy, plain = factory(*arguments), factory(*arguments, disable_dynamic=True)
    assert type(copy) is Dynamic
    assert type(plain) is comfy.model_patcher.ModelPatcher
    assert copy.model is not patcher.model
    assert torch.equal(copy.model[0].to_q.weight, patcher.model[0].to_q.weight)


def test_an_adapter_lora_changes_its_part_and_shares_the_others(base, adapter, tmp_path):
    generator = torch.Generator().manual_seed(8)
    tensors = {
        "ipa_arc.2.to_out.lora_A.weight": torch.randn(4, 128, generator=generator),
        "ipa_arc.2.to_out.lora_B.weight": torch.randn(64, 4, generator=generator),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    plain = sample(applied(base, adapter))
    trained = adapter.with_lora(read_lora(tmp_path / "lora.safetensors", adapter.file, 1.0))
    faces = two_faces()
    changed = sample(applied(base, trained, faces))
    assert difference(changed, plain) > 1e-3
    assert trained.attention((Branch.SIG,)) is adapter.attention((Branch.SIG,))
    assert trained.attention((Branch.ARC,)) is not adapter.attention((Branch.ARC,))
    identity = faces[0].identity
    assert trained.keys_values(Branch.ARC, identity) is adapter.keys_values(Branch.ARC, identity)
    assert torch.equal(sample(applied(base, adapter)), plain)
    off = adapter.with_lora(read_lora(tmp_path / "lora.safetensors", adapter.file, 0.0))
    assert torch.equal(sample(applied(base, off)), plain)


@pytest.mark.parametrize(("shape", "branch"), [(ARC, Branch.ARC), (SIG, Branch.SIG)])
def test_single_branch_files_run(base, tmp_path, shape, branch):
    adapter = small_adapter(tmp_path, (shape,), layout="single")
    assert difference(sample(applied(base, adapter, weights={branch: 1.0})), sample(base)) > 0.05
