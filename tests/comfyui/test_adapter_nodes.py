"""Load WithAnyone Adapter and Apply WithAnyone as ComfyUI calls them."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.applying import ApplyWithAnyone
from withanyone_pack.nodes.loading import LoadAdapter
from withanyone_pack.tests.adapter.random_adapter import ARC, random_adapter, random_tensors
from withanyone_pack.tests.comfyui.sampling import sample, two_faces
from withanyone_pack.tests.comfyui.small_flux import small_flux
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFileError
from withanyone_pack.withanyone_core.injection.comfyui.fp8 import FP8
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY

SETTINGS = {
    "resemblance": 0.5,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "apply_to": "cond",
    "id_weight": -1.0,
    "siglip_weight": -1.0,
}


@pytest.fixture
def adapters(tmp_path, monkeypatch):
    _, extensions = folder_paths.folder_names_and_paths["withanyone"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "withanyone", ([str(tmp_path)], extensions))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def load(name="adapter.safetensors", dtype="as stored"):
    return LoadAdapter.execute(name, dtype).result[0]


def apply(base, adapter, **settings):
    return ApplyWithAnyone.execute(base, adapter, two_faces(), **{**SETTINGS, **settings}).result[0]


def test_widgets_keep_their_order():
    """Saved workflows store widget values by position."""
    assert [entry.id for entry in LoadAdapter.GET_SCHEMA().inputs] == ["adapter_name", "dtype"]
    assert [entry.id for entry in ApplyWithAnyone.GET_SCHEMA().inputs] == [
        "model",
        "adapter",
        "faces",
        *SETTINGS,
        "first_factor",
        "last_factor",
        "curve",
    ]
    assert LoadAdapter.GET_SCHEMA().node_id == "WithAnyoneLoadAdapter"
    assert ApplyWithAnyone.GET_SCHEMA().node_id == "WithAnyoneApply"


def first_queries(patched):
    """The stacked query projection after the first block, of all branches that were plugged in."""
    (attention,) = patched.get_additional_models_with_key(KEY)
    return attention.model[0].to_q.weight


def test_the_slider_chooses_between_the_branches(adapters):
    random_adapter(adapters / "adapter.safetensors")
    adapter, base = load(), small_flux()
    spirit, form = apply(base, adapter, resemblance=0.0), apply(base, adapter, resemblance=1.0)
    arc, sig, both = map(first_queries, (spirit, form, apply(base, adapter, resemblance=0.5)))
    assert not torch.equal(arc, sig)
    assert torch.equal(torch.cat([arc, sig]), both)
    overridden = apply(base, adapter, resemblance=1.0, id_weight=1.0, siglip_weight=0.0)
    assert torch.equal(sample(overridden), sample(spirit))


def test_a_single_branch_file_ignores_the_slider(adapters):
    random_adapter(adapters / "adapter.safetensors", shapes=(ARC,), layout="single")
    adapter, base = load(), small_flux()
    assert torch.equal(sample(apply(base, adapter, resemblance=0.0)), sample(apply(base, adapter, resemblance=1.0)))
    weaker = sample(apply(base, adapter, id_weight=0.3))
    assert not torch.equal(weaker, sample(apply(base, adapter)))


def test_the_factor_follows_its_curve_over_the_steps(adapters):
    random_adapter(adapters / "adapter.safetensors")
    adapter, base = load(), small_flux()
    halved = sample(apply(base, adapter, first_factor=0.5, last_factor=0.5))
    weights = {"id_weight": 0.25, "siglip_weight": 0.25}
    assert torch.allclose(halved, sample(apply(base, adapter, **weights)), atol=1e-5)
    fading = sample(apply(base, adapter, first_factor=1.0, last_factor=0.0))
    assert not torch.equal(fading, sample(apply(base, adapter, first_factor=1.0, last_factor=0.0, curve="ease in")))


def test_fp8_is_a_choice_of_the_loader(adapters):
    random_adapter(adapters / "adapter.safetensors")
    patched = apply(small_flux(), load(dtype="fp8"))
    assert patched.get_additional_models_with_key(KEY)[0].model[0].to_q.weight.dtype == FP8


def test_a_file_that_is_not_there_is_answered_with_where_it_goes(adapters):
    answer = LoadAdapter.validate_inputs("gone.safetensors")
    assert "'gone.safetensors' is not in" in answer
    assert str(adapters) in answer
    with pytest.raises(FileNotFoundError, match=r"Put withanyone\.safetensors .* there"):
        load("gone.safetensors")


def test_after_a_broken_file_the_same_model_samples_as_before(adapters):
    base = small_flux()
    before = sample(base)
    path = random_adapter(adapters / "adapter.safetensors")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(AdapterFileError):
        load()
    assert torch.equal(sample(base), before)


def test_a_person_of_another_face_model_is_refused_with_a_message(adapters):
    save_file(random_tensors(), adapters / "adapter.safetensors", metadata={"face_model": "pack_a/one.onnx"})
    faces = [replace(face, identity=replace(face.identity, face_model="pack_b/two.onnx")) for face in two_faces()]
    with pytest.raises(ValueError, match=r"by pack_b/two.onnx, but adapter.safetensors was trained with pack_a"):
        ApplyWithAnyone.execute(small_flux(), load(), tuple(faces), **SETTINGS)
