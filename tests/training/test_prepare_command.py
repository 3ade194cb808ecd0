"""prepare.py's command line, with real model files (small ones)."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
import yaml
from PIL import Image
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training import small_models
from withanyone_pack.tests.training.rooms import add_training
from withanyone_pack.tests.training.test_base import small_vae, written
from withanyone_pack.tests.training.test_encoders import files, tokenizer

add_training()
from training.base.files import fingerprint
from training.cache.files import read_cache
from training.configuration.preparing import EncoderSettings, FaceSettings, NegativeSettings, PrepareSettings
from training.configuration.reading import read_settings
from training.prepare import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos of one person, models, and a configuration with paths of its own."""
    folder = tmp_path_factory.mktemp("place")
    for number in range(6):
        path = folder / f"photos/identities/alice/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small_models.image(20 + 4 * number, pattern=number)[..., ::-1].copy()).save(path)
    models = folder / "models"
    pack, card = small_models.write_models(models)
    t5, clip = files(models)
    tokenizer(models / "t5", 16)
    tokenizer(models / "clip", 77, start=True)
    written(models / "ae.safetensors", small_vae().state_dict())
    settings = {
        "data": "photos",
        "faces": {"pack": f"models/{pack.name}", "second": f"models/{card.name}"},
        "encoders": {
            "vae": "models/ae.safetensors",
            "t5": f"models/{t5.name}",
            "clip": f"models/{clip.name}",
            "t5_tokenizer": "models/t5",
            "clip_tokenizer": "models/clip",
        },
        "sizes": [128],
        "crops": 2,
    }
    (folder / "prepare.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_photos_become_a_cache(place, capsys):
    assert main([str(place / "prepare.yaml"), f"cache={place / 'cache'}", "max_faces=2"]) == 0
    assert "6 photos of 1 people are ready in" in capsys.readouterr().out
    cache = read_cache(place / "cache")
    assert cache.identities == ("alice",)
    assert len(cache.faces_of(0)) + len(cache.faces_of(0, held_out=True)) == len(cache.images) == 6
    mean, logvar = cache.latent(cache.images[0], 1)
    crop = cache.images[0].crops[1]
    assert mean.shape == logvar.shape == (16, crop.height_px // 8, crop.width_px // 8)
    assert torch.isfinite(mean).all()
    assert cache.text(cache.images[0])["t5"].shape == (16, 64)
    assert cache.dummy_text(2)["pooled"].shape == (64,)
    assert cache.second.shape == (len(cache.faces), 256)
    cache.check_models({"the VAE": fingerprint(place / "models/ae.safetensors")})
    assert (place / "cache/report.html").read_text().count("<img") == len(cache.faces)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare.yaml"], "cache is missing"),
        (["prepare.yaml", "cache=c", "hold_out=3"], "the key hold_out is unknown; did you mean held_out?"),
        (["prepare.yaml", "cache=c", "data=nowhere"], "There is no data folder"),
        (["prepare.yaml", "cache=c", "faces.pack=nowhere"], "The face pack folder"),
        (["prepare.yaml", "cache=c", "encoders.device=cuda"], "torch finds no CUDA here"),
        (["none.yaml"], "There is no configuration none.yaml"),
    ],
)
def test_mistakes_are_readable_messages_and_status_2(place, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(place)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("prepare: ")
    assert words in message


def test_a_judge_that_training_uses_is_refused(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    card = json.loads((place / "models/small.json").read_text())
    (place / "models/seen.json").write_text(json.dumps({**card, "trained_with": True}))
    assert main(["prepare.yaml", "cache=c", "faces.second=models/seen.json"]) == 2
    assert "seen.json is the recognizer that training itself uses" in capsys.readouterr().err


def test_from_a_bare_clone_it_explains_every_setting(tmp_path):
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    program = [sys.executable, ROOT / "training/prepare.py"]
    done = subprocess.run(program, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python training/prepare.py")
    described = done.stdout.partition("settings:")[2]
    for section in (PrepareSettings, FaceSettings, EncoderSettings, NegativeSettings):
        for key in section.model_fields:
            assert re.search(rf"^ *([a-z0-9_]+, )*{key}\b", described, re.MULTILINE), key


@pytest.mark.parametrize("name", ["prepare.yaml", "prepare_miniature.yaml"])
def test_the_shipped_recipes_lack_only_data_and_cache(name):
    recipe = ROOT / "training/recipes" / name
    with pytest.raises(ValueError, match=r"data is missing.*\n.*cache is missing"):
        read_settings(PrepareSettings, recipe)
    settings = read_settings(PrepareSettings, recipe, ["data=photos", "cache=cache"])
    assert settings.encoders.vae.parent.name in ("vae", "weights")


def test_a_folder_without_a_captioner_is_refused(place, tmp_path, capsys):
    assert main([str(place / "prepare.yaml"), f"cache={tmp_path / 'cache'}", f"captions.model={tmp_path}"]) == 2
    assert "which holds no .safetensors" in capsys.readouterr().err
