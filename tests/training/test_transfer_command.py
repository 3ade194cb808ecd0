"""transfer.py starts an adapter for FLUX.2 from one for FLUX.1, and ComfyUI samples with it."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from safetensors import safe_open
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.comfyui.sampling import applied, sample
from withanyone_pack.tests.comfyui.small_flux import SMALL, SMALL_BASES
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

from training import transfer
from withanyone_core.adapter.base import base_of
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.base_models.flux2 import FLUX_2

SHALLOWER = {**SMALL, "depth": 1, "depth_single_blocks": 2}


@pytest.fixture
def files(tmp_path):
    """An adapter, the small FLUX.1 it is for, and a small FLUX.2."""
    for name, base, size in (("flux1", "flux.1", SMALL), ("klein", "flux.2", SHALLOWER)):
        save_file(SMALL_BASES[base](size).model.diffusion_model.state_dict(), tmp_path / f"{name}.safetensors")
    return [
        random_adapter(tmp_path / "adapter.safetensors"),
        tmp_path / "flux1.safetensors",
        tmp_path / "klein.safetensors",
    ]


def run(files, out, *options):
    adapter, _, klein = files
    return transfer.main([str(adapter), "--base", str(klein), "--out", str(out), *map(str, options)])


def test_a_start_for_flux_2_names_its_base_and_samples(files, tmp_path, capsys):
    out = tmp_path / "start.safetensors"
    assert run(files, out, "--from", files[1]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert base_of(inspect_adapter(out)) is FLUX_2
    with safe_open(out, framework="pt") as reader:
        assert reader.metadata()["withanyone.transferred_layers"] == "0 2 4"
    model = SMALL_BASES["flux.2"](SHALLOWER)
    image = sample(applied(model, ComfyAdapter.open(out)))
    assert torch.isfinite(image).all()
    assert not torch.equal(image, sample(model))


def test_what_is_missing_is_named(files, tmp_path, capsys):
    assert run(files, tmp_path / "start.safetensors") == 2
    assert "as no published model" in capsys.readouterr().err
    assert run(files, tmp_path / "start.bin", "--from", files[1]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    assert transfer.main([str(files[0]), "--out", str(tmp_path / "start.safetensors")]) == 2
    assert "--base is missing" in capsys.readouterr().err
    assert not (tmp_path / "start.safetensors").exists()
