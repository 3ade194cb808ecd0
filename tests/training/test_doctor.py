"""doctor.py on a run of small files: what it finds, predicts and measures."""

import io
from types import SimpleNamespace

import pytest
import torch
from withanyone_pack.tests.pack import ROOT, add_comfyui
from withanyone_pack.tests.training.small_cache import POOLED_WIDTH, T5_WIDTH, small_cache
from withanyone_pack.tests.training.small_iresnet import export as export_recognizer
from withanyone_pack.tests.training.small_iresnet import iresnet
from withanyone_pack.tests.training.test_finetune_command import shown

add_comfyui()
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux
from withanyone_pack.tests.training.test_base import small_vae, written
from withanyone_pack.withanyone_core.adapter.shape import BranchShape

from training import doctor
from training.base.files import fingerprint
from training.cache.files import write_cache
from training.cache.shards import Shards, ShardWriter
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.memory.checks import run_checks
from training.memory.dummy_models import largest_batch_shape
from training.memory.peak import GIB, memory
from training.memory.preflight import preflight
from withanyone_core.files.digest import file_sha256

FLUX = {**SMALL, "context_in_dim": T5_WIDTH, "vec_in_dim": POOLED_WIDTH}
ARC = BranchShape(hidden=64, heads=1, layers=5, arc_tokens=4, embedding=512)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Every file of a run."""
    folder = tmp_path_factory.mktemp("doctor")
    export_recognizer(iresnet(units=(1, 1), widths=(4, 8), embedding=512), folder / "face.onnx")
    written(folder / "ae.safetensors", small_vae().state_dict())
    written(folder / "flux.safetensors", small_flux(FLUX).model.diffusion_model.state_dict())
    random_adapter(folder / "withanyone.safetensors", shapes=(ARC,), dtype=torch.bfloat16)
    write_photos(folder / "cache", folder)
    return folder


def write_photos(folder, models):
    photos = small_cache(size_px=64)
    writer = ShardWriter(Shards(folder / "shards"))
    writer.put(photos.tensors)
    writer.flush()
    files = {"ae": fingerprint(models / "ae.safetensors"), "face": file_sha256(models / "face.onnx")}
    write_cache(folder, type(photos)(**{**vars(photos), "files": files}))


def settings_of(place, *changes):
    given = [
        f"out={place / 'run'}",
        f"base.path={place / 'flux.safetensors'}",
        f"base.vae={place / 'ae.safetensors'}",
        "base.precision=fp32",
        f"adapter.init={place / 'withanyone.safetensors'}",
        f"data.cache={place / 'cache'}",
        f"id_loss.recognizer={place / 'face.onnx'}",
        "nce.negatives=16",
        "optim.gradient_accumulation_steps=2",
        "train.rank=4",
        "device=cpu",
    ]
    return read_settings(Finetune, None, [*given, *changes])


def visited(settings, card=None, with_steps=True):
    out = io.StringIO()
    is_well = preflight(settings, card, with_steps, out)
    return is_well, out.getvalue()


def test_called_bare_it_shows_its_help(tmp_path):
    assert shown("doctor.py", tmp_path).startswith("usage: python training/doctor.py")


def test_a_run_that_will_work(place):
    is_well, text = visited(settings_of(place))
    assert is_well, text
    assert "FAULT" not in text
    for words in ("Plan", "base model, fp32", "peak of tensors", "Two steps", "computed, no CUDA device here"):
        assert words in text
    assert "within 10 %" in text
    assert not (place / "run").exists()


def test_every_fault_is_found_at_once(place, tmp_path):
    settings = settings_of(place, f"base.path={tmp_path / 'none.safetensors'}", f"data.cache={tmp_path}")
    is_well, text = visited(settings)
    assert not is_well
    assert text.count("FAULT  ") >= 2
    assert "none.safetensors" in text
    assert "holds no finished cache" in text
    assert "Two steps" not in text


def test_a_cache_of_another_vae_is_a_fault(place, tmp_path):
    other = {name: 2 * value for name, value in small_vae().state_dict().items()}
    written(tmp_path / "other.safetensors", other)
    is_well, text = visited(settings_of(place, f"base.vae={tmp_path / 'other.safetensors'}"))
    assert not is_well
    assert "made with other models" in text


def test_too_small_a_card_comes_with_what_would_fit(place):
    wasteful = settings_of(place, "memory.vae_gradient_checkpointing=false", "optim.gradient_accumulation_steps=1")
    found = run_checks(wasteful)
    needed = memory(found.models, largest_batch_shape(wasteful, found.sources), wasteful).needed
    is_well, text = visited(wasteful, card=(needed - 1) / GIB)
    assert not is_well
    assert "does not fit" in text
    assert "It fits with: memory.vae_gradient_checkpointing=true" in text


def test_what_other_programs_hold_of_the_card_is_not_there(place, monkeypatch):
    """A card that is large enough and half taken by a screen, a browser and ComfyUI."""
    settings = settings_of(place, "device=auto")
    found = run_checks(settings_of(place))
    needed = memory(found.models, largest_batch_shape(settings, found.sources), settings).needed
    free = [needed - 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=12 * GIB))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free[0], 12 * GIB))
    is_well, text = visited(settings, with_steps=False)
    assert not is_well
    assert f"A card, {free[0] / GIB:.1f} of 12.0 GiB free" in text
    assert "It does not fit" in text
    free[0] = needed
    is_well, text = visited(settings, with_steps=False)
    assert is_well, text


def test_the_command_returns_1_for_a_fault_and_2_for_settings_it_cannot_read(place, tmp_path, capsys):
    named = ["adapter.init=none", "base.path=none", "data.cache=none", "id_loss.recognizer=none", f"out={tmp_path}"]
    recipe = str(ROOT / "training/recipes/24gb.yaml")
    assert doctor.main([recipe, *named, "optim.lrate=1"]) == 2
    assert "optim.lr" in capsys.readouterr().err
    assert doctor.main([recipe, *named]) == 1
    assert "FAULT" in capsys.readouterr().out
