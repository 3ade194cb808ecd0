import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from withanyone_pack.tests.pack import ROOT

GOLDEN = ROOT / "tests/golden/inference"


def replay(folder):
    return subprocess.run(
        [sys.executable, "-m", "tests.golden", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.comfyui
def test_every_shipped_golden_number_is_reproduced():
    done = replay(GOLDEN)
    assert done.returncode == 0, done.stdout + done.stderr
    total = done.stdout.splitlines()[-1]
    assert " 0 failed" in total
    assert int(total.split()[0]) >= 400
    for name in ("a_projectors", "b_double_block_ip", "d_full_tiny_S", "d_full_tiny_Ke", "g_siglip_tiny"):
        assert f"{name}.safetensors: largest relative error" in done.stdout


def test_a_changed_number_fails_the_replay(tmp_path):
    for name in ("a_projectors.safetensors", "id_inputs.safetensors"):
        shutil.copy(GOLDEN / name, tmp_path / name)
    path = tmp_path / "a_projectors.safetensors"
    with safe_open(path, "pt") as reader:
        about = reader.metadata()
        tensors = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118 - not a mapping
    tensors["out.ids_20.arc_tokens"] = tensors["out.ids_20.arc_tokens"] + torch.tensor(1e-3)
    save_file(tensors, path, metadata=about)
    done = replay(tmp_path)
    assert done.returncode == 1
    assert "ids_20.arc_tokens: failed" in done.stdout
    assert done.stdout.splitlines()[-1] == "5 passed, 1 failed, 0 skipped"


@pytest.mark.comfyui
def test_a_model_whose_rotary_axes_no_tensor_tells_is_not_applicable_to_a_reader_of_files(tmp_path):
    for name in ("d_full_tiny_S.safetensors", "id_inputs.safetensors"):
        shutil.copy(GOLDEN / name, tmp_path / name)
    path = tmp_path / "d_full_tiny_S.safetensors"
    with safe_open(path, "pt") as reader:
        about = json.loads(reader.metadata()["json"])
        tensors = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118 - not a mapping
    about["config"]["axes_dim"] = [4, 14, 14]
    about["cases"] = {name: case for name, case in about["cases"].items() if name == "none"}
    about["sampling"] = {}
    save_file(tensors, path, metadata={"json": json.dumps(about)})
    out = replay(tmp_path).stdout
    assert "d_full_tiny_S.safetensors: diffusers: not applicable (rotary axes [4, 14, 14] are in no tensor" in out
    assert "in diffusers: failed" not in out
    assert out.splitlines()[-1] == "0 passed, 1 failed, 1 skipped"  # ComfyUI's class was given the axes


def test_files_without_a_replay_are_skipped(tmp_path):
    (tmp_path / "z_new.json").write_text("{}")
    done = replay(tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "z_new.json: file: skipped (no code replays it yet)",
        "0 passed, 0 failed, 1 skipped",
    ]


@pytest.mark.parametrize("arguments", [[], ["no-such-folder"]])
def test_called_wrongly_it_says_how(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m tests.golden DIR")
