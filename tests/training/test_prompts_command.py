"""Prompts of one's own by the commands a user types, on the miniature's models and recipe."""

import numpy as np
import pytest
import torch
from PIL import Image
from withanyone_pack.miniature.world import draw_portrait, person_of, render
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training import doctor, finetune, prepare
from training.cache.files import read_cache
from training.loop.log import read_rows

RECIPES = ROOT / "training/recipes"
PEOPLE, PHOTOS, SIDE_PX = 2, 5, 256
PROMPTS = """
- one person
- {prompt: two people by the water, people: {anna: left, ben: [0.545, 0.182, 1, 0.636]}, seed: 3}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of two people, prepared, and prompts in a file."""
    folder = tmp_path_factory.mktemp("prompts")
    for person, name in enumerate(("anna", "ben")):
        for number in range(PHOTOS):
            scene = draw_portrait(np.random.default_rng([person, number]), person_of(person))
            path = folder / f"photos/identities/{name}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(scene, SIDE_PX, SIDE_PX).pixels).save(path)
    given = [f"data={folder / 'photos'}", f"cache={folder / 'cache'}", "crops=1", "held_out=1"]
    torch.set_num_threads(1)
    assert prepare.main([str(RECIPES / "prepare_miniature.yaml"), *given]) == 0
    (folder / "prompts.yaml").write_text(PROMPTS)
    return folder


def settings(place, *changes):
    return [
        str(RECIPES / "miniature.yaml"),
        f"out={place / 'run'}",
        f"data.cache={place / 'cache'}",
        f"validation.prompts={place / 'prompts.yaml'}",
        f"adapter.init={ROOT / 'miniature/weights/adapter.safetensors'}",
        *("optim.steps=1", "optim.batch_size=1", "validation.num_images=1", "validation.sampling_steps=4"),
        *("nce.negatives=8", "validation.num_sigmas=1", "optim.warmup_steps=1"),
        *changes,
    ]


def test_prepare_remembers_where_the_text_encoders_are(place):
    encoders = read_cache(place / "cache").text_encoders
    assert (ROOT / "miniature/weights/t5.safetensors").samefile(encoders["t5"])
    assert set(encoders) == {"t5", "clip", "t5_tokenizer", "clip_tokenizer"}


def test_doctor_says_what_will_be_encoded(place, capsys):
    assert doctor.main([*settings(place), "--no-steps"]) == 0
    assert "2, to be encoded by t5.safetensors and clip.safetensors" in capsys.readouterr().out


def test_a_run_shows_and_scores_the_prompts_and_resumes_with_more_of_them(place, caplog):
    assert finetune.main(settings(place)) == 0
    assert "validation.prompts to encode: 1." in caplog.text, "one person is a text of the cache"
    rows = read_rows(place / "run/validation.csv")
    assert all(-1 <= float(row["prompts_sim_photos"]) <= 1 for row in rows)
    assert all(row["prompts_copy_paste"] and row["prompts_leakage"] for row in rows)
    text = (place / "run/report.md").read_text(encoding="utf-8")
    assert "two people by the water (anna, ben)" in text
    assert "| Sim(photos) |" in text
    caplog.clear()
    more = PROMPTS + "- one person in a red shirt\n"
    (place / "prompts.yaml").write_text(more)
    assert finetune.main(settings(place, "optim.steps=2")) == 0
    assert "validation.prompts to encode: 1." in caplog.text, "only the new one"
    assert "A setting has changed since the last checkpoint: validation.prompts" in caplog.text
    assert len(list((place / "run/previews/step-000002").glob("prompt_*.png"))) == 3
    assert len(list((place / "run/previews/step-000001").glob("prompt_*.png"))) == 2


def test_a_person_nobody_knows_is_named_before_any_model_is_loaded(place, capsys):
    named = "validation.prompts=[{prompt: x, people: [carl]}]"
    assert finetune.main([*settings(place, named, f"out={place / 'other'}"), "base.path=nowhere.safetensors"]) == 2
    assert "entry 1: nobody in the cache is called 'carl'; known are anna, ben" in capsys.readouterr().err
