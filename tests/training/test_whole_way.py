"""From photographs to an adapter that ComfyUI samples with, by the commands a user types, on small models.

Faces are found by the test bed's detector and recognizer, which are no ONNX files; every other model is a file.
"""

import json
from shutil import copyfile

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training import coded_faces, people, small_models
from withanyone_pack.tests.training.photo_changes import changed
from withanyone_pack.tests.training.small_iresnet import export as export_recognizer
from withanyone_pack.tests.training.small_iresnet import iresnet

add_comfyui()
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.comfyui.sampling import LEFT, RIGHT, applied, noise, sample
from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux
from withanyone_pack.tests.training.test_base import small_vae, written
from withanyone_pack.tests.training.test_encoders import files, tokenizer
from withanyone_pack.withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter
from withanyone_pack.withanyone_core.regions.layout import PlacedFace

from training import export as exporting
from training import finetune, prepare
from training.cache.files import read_cache
from training.loop.checkpoints import checkpoints
from training.loop.log import read_rows

PEOPLE = {"anna": 3, "ben": 1}
FLUX = {**SMALL, "context_in_dim": 64, "vec_in_dim": 64}
ARC = BranchShape(hidden=64, heads=1, layers=5, arc_tokens=4, embedding=512)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photographs, model files and the two configurations."""
    folder = tmp_path_factory.mktemp("whole_way")
    rng = np.random.default_rng(0)
    for name, number in PEOPLE.items():
        for photo in range(5):
            image = changed(people.person(number)[..., ::-1], rng, 0.7)
            coded_faces.save(folder / f"photos/identities/{name}/{photo}.png", image)
    coded_faces.save(folder / "photos/groups/friends.png", np.ascontiguousarray(people.group()[..., ::-1]))
    models = folder / "models"
    small_models.write_models(models)
    export_recognizer(iresnet(units=(1, 1), widths=(4, 8), embedding=512), models / "antelopev2/glintr100.onnx")
    t5, clip = files(models)
    tokenizer(models / "t5", 16)
    tokenizer(models / "clip", 77, start=True)
    written(models / "ae.safetensors", small_vae().state_dict())
    written(models / "flux.safetensors", small_flux(FLUX).model.diffusion_model.state_dict())
    # In float32: a LoRA merged into a file and one added to stacked weights are rounded to bf16 in different places.
    random_adapter(models / "withanyone.safetensors", shapes=(ARC,), dtype=torch.float32)
    encoders = {"vae": "models/ae.safetensors", "t5": f"models/{t5.name}", "clip": f"models/{clip.name}"}
    encoders |= {"t5_tokenizer": "models/t5", "clip_tokenizer": "models/clip"}
    settings = {"data": "photos", "cache": "cache", "faces": {"pack": "models/antelopev2"}, "encoders": encoders}
    settings |= {"sizes": [96], "crops": 1, "upscale": True, "aspects": ["1:1"], "held_out": 1, "max_faces": 2}
    (folder / "prepare.yaml").write_text(yaml.safe_dump(settings))
    (folder / "finetune.yaml").write_text(yaml.safe_dump(training_settings()))
    return folder


def training_settings():
    return {
        "out": "run",
        "base": {"path": "models/flux.safetensors", "vae": "models/ae.safetensors", "precision": "fp32"},
        "adapter": {"init": "models/withanyone.safetensors"},
        "data": {"cache": "cache"},
        "train": {"mode": "full"},
        "optim": {
            "name": "adamw",
            "lr": 3e-3,
            "steps": 4,
            "batch_size": 1,
            "gradient_accumulation_steps": 2,
            "warmup_steps": 1,
        },
        "id_loss": {"recognizer": "models/antelopev2/glintr100.onnx"},
        "nce": {"negatives": 64},
        "validation": {
            "every_steps": 2,
            "num_images": 1,
            "sampling_steps": 2,
            "num_sigmas": 3,
            "face_pack": "models/antelopev2",
            "judges": ["models/small.json"],
        },
        "save": {"every_steps": 2},
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def cache(place):
    from training.preparing import loading

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_face_analysis", lambda *_: people.analysis())
        assert prepare.main([str(place / "prepare.yaml")]) == 0
    return read_cache(place / "cache")


@pytest.fixture(scope="module")
def run(place, cache):
    torch.set_num_threads(1)
    assert finetune.main([str(place / "finetune.yaml")]) == 0
    return place / "run"


def test_prepare_found_the_people(cache):
    assert cache.identities == tuple(PEOPLE)
    assert any(image.people == 2 for image in cache.images)


def test_the_run_learnt_looked_and_reported(run):
    rows = read_rows(run / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert any(float(row["id"]) > 0 for row in rows if row["id"])
    assert [row["step"] for row in read_rows(run / "validation.csv")] == ["0", "2", "4"]
    assert "| Sim(GT) |" in (run / "report.md").read_text()
    assert len(list((run / "previews/step-000004").glob("*.png"))) == 1


def sampled(place, path, cache, loras=()):
    """An image's latent by ComfyUI's sampler with both people placed through the pack's Apply."""
    model = small_flux(FLUX)
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(1, 12, 64, generator=generator)
    prompt = [[text, {"pooled_output": torch.randn(1, 64, generator=generator), "guidance": 4.0}]]
    if path is not None:
        adapter = ComfyAdapter.open(path)
        for lora in loras:
            adapter = adapter.with_lora(read_lora(lora, adapter.file))
        faces = tuple(
            PlacedFace(Identity(name, cache.face(cache.faces_of(number)[0]).arcface, None, torch.zeros(8, 8, 3)), box)
            for (number, name), box in zip(enumerate(cache.identities), (LEFT, RIGHT), strict=True)
        )
        model = applied(model, adapter, faces, {Branch.ARC: 1.0})
    return sample(model, positive=prompt, start=noise())


def test_comfyui_samples_with_the_trained_adapter(place, cache, run):
    trained = sampled(place, run / "adapter.safetensors", cache)
    assert trained.isfinite().all()
    for other in (None, place / "models/withanyone.safetensors"):
        assert not torch.allclose(trained, sampled(place, other, cache), atol=1e-3)


def test_a_lora_is_trained_and_added(place, cache, run, caplog):
    changes = ["out=" + str(place / "lora"), "train.mode=lora", "train.rank=2", "optim.steps=2", "validation.judges=[]"]
    assert finetune.main([str(place / "finetune.yaml"), *changes]) == 0
    assert "Training on 1 process (cpu): " in caplog.text
    assert "no likeness, no measure of copying, no early stopping and no best checkpoint" in caplog.text
    init = place / "models/withanyone.safetensors"
    lora = place / "lora/lora.safetensors"
    added = sampled(place, init, cache, [lora])
    assert not torch.equal(added, sampled(place, init, cache))
    merged = place / "merged.safetensors"
    checkpoint = checkpoints(place / "lora")[-1]
    assert exporting.main([str(checkpoint), "--out", str(merged), "--merged"]) == 0
    assert inspect_adapter(merged).shapes.keys() == {Branch.ARC}
    assert torch.allclose(sampled(place, merged, cache), added, atol=1e-4)


def test_a_run_goes_on_with_its_base_model_wherever_that_is_and_with_no_other(place, run, tmp_path, capsys):
    base = place / "models/flux.safetensors"
    copyfile(base, tmp_path / "moved.safetensors")
    assert finetune.main([str(place / "finetune.yaml"), f"base.path={tmp_path}/moved.safetensors"]) == 0
    written(tmp_path / "other.safetensors", {name: value + 0.01 for name, value in load_file(base).items()})
    assert finetune.main([str(place / "finetune.yaml"), f"base.path={tmp_path}/other.safetensors"]) == 2
    assert "were trained on another base model than base.path now names" in capsys.readouterr().err


def test_a_finished_run_repeated_changes_nothing(place, run):
    before = (run / "metrics.csv").read_text()
    assert finetune.main([str(place / "finetune.yaml")]) == 0
    assert (run / "metrics.csv").read_text() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["optim.lrr=1"], "did you mean optim.lr?"),
        (["data.cache=nowhere"], "holds no finished cache"),
        (["base.path=nowhere.safetensors"], "nowhere.safetensors"),
        (["adapter.init=nowhere.safetensors"], "There is no adapter file"),
        (["adapter.init={place}/models/flux.safetensors"], "is not a WithAnyone adapter"),
        (["base.vae={place}/models/other_vae.safetensors"], "The cache was made with other models: the VAE"),
        (["id_loss.recognizer={place}/models/small.onnx"], "The cache was made with other models: the recognizer"),
        (["validation.judges=[{place}/models/seen.json]"], "is the recognizer of the identity loss"),
        (["device=cuda"], "torch finds no CUDA device here"),
        (["optim.name=adamw8bit"], "optim.name=adamw"),
    ],
)
def test_what_is_wrong_is_a_readable_message_and_status_2(place, cache, capsys, monkeypatch, changes, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    models = place / "models"
    other = {name: value + 1 for name, value in small_vae().state_dict().items()}
    written(models / "other_vae.safetensors", other)
    card = json.loads((models / "small.json").read_text())
    (models / "seen.json").write_text(json.dumps({**card, "onnx": "antelopev2/glintr100.onnx"}))
    changes = [change.format(place=place) for change in changes]
    arguments = [str(place / "finetune.yaml"), f"out={place / 'other'}", *changes]
    assert finetune.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("finetune: ")
    assert words in message


def test_all_settings_are_shown_and_read_back(place, capsys, tmp_path):
    assert finetune.main([str(place / "finetune.yaml"), "--settings"]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["nce"] == {"weight": 0.1, "tau": 0.1, "negatives": 64, "false_negative_cos": 0.4}
    (tmp_path / "again.yaml").write_text(shown)
    assert finetune.main([str(tmp_path / "again.yaml"), "--settings"]) == 0
    assert capsys.readouterr().out == shown
