"""From ComfyUI's folder to an adapter by the commands that setup.py prints, on the miniature's models in the real ones'
places."""

import os
import subprocess
import sys
from shutil import copyfile, copytree

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from withanyone_pack.miniature.weights_folder import ADAPTER, CLIP, CLIP_WORDS, FACES, FLUX, T5, T5_WORDS, VAE, WEIGHTS
from withanyone_pack.miniature.world import draw_portrait, person_of, render
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.rooms import add_training
from withanyone_pack.withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.download.published import FACE_PACK

add_training()
from training import finetune, prepare
from training.configuration.finetune import Finetune
from training.configuration.preparing import PrepareSettings
from training.configuration.reading import known_keys, read_settings

PEOPLE, PHOTOS, SIDE_PX = 2, 6, 256
PACK = f"models/insightface/models/{FACE_PACK}"


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory):
    """ComfyUI's folders with the miniature's models in them."""
    folder = tmp_path_factory.mktemp("setup") / "ComfyUI #1"
    for place, name in {
        "models/diffusion_models/any name.safetensors": FLUX,
        "models/text_encoders/t5.safetensors": T5,
        "models/text_encoders/clip.safetensors": CLIP,
        "models/withanyone/withanyone.safetensors": ADAPTER,
        f"{PACK}/scrfd_10g_bnkps.onnx": f"{FACES}/detector.onnx",
        f"{PACK}/glintr100.onnx": f"{FACES}/recognizer.onnx",
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        copyfile(WEIGHTS / name, folder / place)
    copytree(WEIGHTS / VAE, folder / "models/vae/small")
    copytree(WEIGHTS / T5_WORDS, folder / "comfy/text_encoders/t5_tokenizer")
    copytree(WEIGHTS / CLIP_WORDS, folder / "comfy/sd1_tokenizer")
    return folder


def command(script, *arguments, cwd):
    """What a user types, in the pack's folder's own Python."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    line = [sys.executable, str(ROOT / "training" / script), *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, env=clean | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def friends(comfyui):
    """The folder of a run, its two files written, photos of two people in it."""
    done = command("setup.py", comfyui, "--out", "friends", cwd=comfyui.parent)
    assert done.returncode == 0, done.stderr
    folder = comfyui.parent / "friends"
    for person in range(PEOPLE):
        for number in range(PHOTOS):
            scene = draw_portrait(np.random.default_rng([person, number]), person_of(person))
            path = folder / f"photos/identities/person {person}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(scene, SIDE_PX, SIDE_PX).pixels).save(path)
    return folder


def test_every_setting_stands_in_the_files_with_what_it_means(friends):
    for name, model in (("prepare.yaml", PrepareSettings), ("finetune.yaml", Finetune)):
        text = (friends / name).read_text(encoding="utf-8")
        settings = read_settings(model, friends / name)
        for key in known_keys(model):
            assert f"{key.rpartition('.')[2]}:" in text, key
        assert f"# {model.__doc__.splitlines()[0]}" in text
    assert settings.data.cache == friends / "cache"
    assert settings.out == friends / "run"


def test_from_photos_to_an_adapter_by_the_printed_commands(friends):
    small = ("sizes=[176]", "aspects=['1:1']", "crops=1", "faces.det_size=320", "held_out=1")
    assert prepare.main([str(friends / "prepare.yaml"), *small]) == 0
    short = ("base.precision=fp32", "train.rank=4", "train.alpha=4", "data.same_shot_cos=1", "nce.negatives=8")
    assert finetune.main([str(friends / "finetune.yaml"), *short, "optim.steps=2"]) == 0
    adapter = inspect_adapter(WEIGHTS / ADAPTER)
    assert read_lora(friends / "run/lora.safetensors", adapter)
    assert "| Sim(GT) |" in (friends / "run/report.md").read_text(encoding="utf-8")  # the judge measured


def test_a_file_that_is_there_is_left_alone(friends):
    before = (friends / "prepare.yaml").read_bytes()
    done = command("setup.py", next(friends.parent.glob("ComfyUI*")), "--out", "friends", cwd=friends.parent)
    assert done.returncode == 2
    assert "prepare.yaml is there already" in done.stderr
    assert (friends / "prepare.yaml").read_bytes() == before


def test_what_is_missing_is_named_with_source_and_licence_and_nothing_is_written(comfyui, tmp_path):
    copy = tmp_path / "comfy"
    copytree(comfyui, copy)
    (copy / "models/vae/small/diffusion_pytorch_model.safetensors").unlink()
    (copy / PACK / "glintr100.onnx").unlink()
    done = command("setup.py", copy, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    missing = [line for line in done.stdout.splitlines() if line.startswith("MISSING")]
    assert len(missing) == 2
    assert "--only vae`" in missing[0]
    assert "FLUX.1 [dev] Non-Commercial License" in missing[0]
    assert f"--only {FACE_PACK}`" in missing[1]
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_is_not_taken(comfyui, tmp_path):
    copy = tmp_path / "comfy"
    copytree(comfyui, copy)
    path = copy / "models/diffusion_models/any name.safetensors"
    state = load_file(path)
    path.unlink()
    save_file({key: value for key, value in state.items() if key != "single_blocks.1.linear1.weight"}, path)
    done = command("setup.py", copy, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert "MISSING  FLUX.1-dev" in done.stdout


def test_models_are_found_where_extra_model_paths_names_them_and_a_missing_such_file_is_said(comfyui, tmp_path):
    copy, elsewhere = tmp_path / "comfy", tmp_path / "elsewhere"
    copytree(comfyui, copy)
    (copy / "models/vae").rename(elsewhere)
    paths = tmp_path / "paths.yaml"
    done = command("setup.py", copy, "--out", "run", "--extra-model-paths", paths, cwd=tmp_path)
    assert done.returncode == 2
    assert "paths.yaml" in done.stderr
    paths.write_text(f"mine:\n  vae: {elsewhere}\n", encoding="utf-8")
    done = command("setup.py", copy, "--out", "run", "--extra-model-paths", paths, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert str(elsewhere) in (tmp_path / "run/finetune.yaml").read_text(encoding="utf-8")
