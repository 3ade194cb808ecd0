"""Prompts of one's own in a run: who is shown where, what is encoded when, and what the report makes of the scores."""

import gc
import re
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_trainer import CPU, HIDDEN, LAYERS, settings_of, small_trainer
from withanyone_pack.tests.training.test_encoders import files, tokenizer

from training.base import flux1
from training.cache.cache import Cache
from training.loop.log import read_rows
from training.loop.prompt_scores import KnownPeople, score_prompts
from training.loop.prompt_texts import encoded_prompts
from training.loop.prompts import COMPARED_PHOTOS, PromptScene, planned
from training.loop.train import train
from training.preparing.encoding import text_key
from training.report.report import finish
from withanyone_core.adapter.shape import BranchShape
from withanyone_core.identity import Face
from withanyone_core.metrics.case import JudgeInfo

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
BOX = "[0.5, 0.25, 0.75, 0.5]"
ALONE = SimpleNamespace(is_main_process=True, device=CPU, wait_for_everyone=lambda: None)


def changed_cache(**changes):
    photos = small_cache(photos=6)
    return Cache(**{**vars(photos), **changes})


def plans(tmp_path, prompts, photos=None, *changes):
    return planned(settings_of(tmp_path, f"validation.prompts={prompts}", *changes), photos or small_cache(photos=6))


def test_people_stand_where_the_entry_says(tmp_path):
    prompts = f"[{{prompt: x, people: {{person 1: {BOX}, person 0: left}}, width: 512, height: 256}}]"
    (plan,) = plans(tmp_path, prompts)
    assert plan.people == ("person 1", "person 0")
    assert plan.sample.people[0].box == (0.5, 0.25, 0.75, 0.5)
    x1, _, x2, _ = plan.sample.people[1].box
    assert 0 <= x1 < x2 <= 1 / 3
    assert (plan.width_px, plan.height_px) == (512, 256)


def test_without_people_the_prompt_names_them_or_they_come_in_turn(tmp_path):
    photos = changed_cache(identities=("anna", "ben"))
    found = plans(tmp_path, "[by the sea, by the sea, Ben by the sea, anna and ben, a banner]", photos)
    assert [plan.people for plan in found] == [("anna",), ("ben",), ("ben",), ("anna", "ben"), ("anna",)]
    (left, right) = (person.box for person in found[3].sample.people)
    assert left[2] <= right[0], "they stand side by side"
    own = plans(tmp_path, "[by the sea]", photos, "train.mode=tokens", "train.identity=ben", "adapter.init=x")
    assert own[0].people == ("ben",)


def test_the_reference_is_no_photo_that_is_held_out_and_the_photos_are_others(tmp_path):
    photos = small_cache(photos=8, held_out=2)
    (plan,) = plans(tmp_path, "[person 0 by the sea]", photos)
    (reference,) = (person.reference for person in plan.sample.people)
    assert photos.name_of(reference) == "person 0"
    images = [photos.images[photos.faces[face].image] for face in (reference, *plan.photos[0])]
    assert [image.held_out for image in images] == [False, True, True, False, False]
    assert len({image.index for image in images}) == 1 + COMPARED_PHOTOS


def test_the_size_is_that_of_most_photos(tmp_path):
    assert [(plan.width_px, plan.height_px) for plan in plans(tmp_path, "[x]", small_cache(size_px=96))] == [(96, 96)]


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("[x, {prompt: y, people: [bob]}]", "entry 2: nobody in the cache is called 'bob'; known are person 0, person"),
        ("[person 0 and person 1 by the sea]", r"entry 1: shows 2 people, .*data\.max_people"),
    ],
)
def test_people_nobody_can_place_are_refused_with_the_number_of_the_entry(tmp_path, prompts, words):
    with pytest.raises(ValueError, match=rf"validation\.prompts: {words}"):
        plans(tmp_path, prompts, None, "data.max_people=1")


@pytest.fixture
def encoders(tmp_path):
    """Small text encoders, and a cache that they have made."""
    t5, clip = files(tmp_path)
    paths = {"t5": t5, "clip": clip, "t5_tokenizer": tokenizer(tmp_path / "t5", 16)}
    paths["clip_tokenizer"] = tokenizer(tmp_path / "clip", 77, start=True)
    made = flux1.FluxText(*paths.values(), torch.float32)
    recorded = {name: str(path) for name, path in paths.items()}
    return made, changed_cache(
        fingerprints={"text": "texts"}, files={"t5 and clip": made.fingerprint}, text_encoders=recorded
    )


def test_prompts_are_encoded_once_and_the_encoders_leave(tmp_path, encoders, monkeypatch):
    made, photos = encoders
    opened = []

    def watched(*given):
        opened.append(make(*given))
        return opened[-1]

    make = flux1.FluxText
    monkeypatch.setattr(flux1, "FluxText", watched)
    settings = settings_of(tmp_path / "run", "validation.prompts=[two people, a park, two people]")
    texts = encoded_prompts(settings, photos, ALONE)
    expected = made.encode("a park")
    assert texts[1].keys() == expected.keys()
    assert all(torch.allclose(texts[1][name], expected[name], atol=0.05) for name in expected)
    assert torch.equal(texts[0]["t5"], texts[2]["t5"])
    models = [weakref.ref(model) for model in opened[0]._models or ()]
    gc.collect()
    assert models == [], "released"
    again = encoded_prompts(settings, photos, ALONE)
    assert torch.equal(again[1]["t5"], texts[1]["t5"])
    assert len(opened) == 1, "the run's folder has them"
    encoded_prompts(settings_of(tmp_path / "run", "validation.prompts=[a park, in a park]"), photos, ALONE)
    assert len(opened) == 2
    other = Cache(**{**vars(photos), "fingerprints": {"text": "of other encoders"}})
    encoded_prompts(settings, other, ALONE)
    assert len(opened) == 3, "those of other encoders do not count"


def test_of_several_processes_the_main_one_encodes(tmp_path, encoders, monkeypatch):
    _, photos = encoders
    settings = settings_of(tmp_path / "run", "validation.prompts=[two people]")

    def main_one_encodes():
        encoded_prompts(settings, photos, ALONE)

    other = SimpleNamespace(is_main_process=False, device=CPU, wait_for_everyone=main_one_encodes)
    assert encoded_prompts(settings, photos, other)[0]["t5"].shape == (16, 64)


def test_a_prompt_that_is_a_caption_needs_no_encoder(tmp_path):
    photos = changed_cache(fingerprints={"text": "texts"})
    key = text_key("texts", "a park")
    tensors = {**photos.tensors, f"{key}.t5": torch.ones(6, 32), f"{key}.pooled": torch.ones(16)}
    settings = settings_of(tmp_path / "run", "validation.prompts=[a park]")
    (text,) = encoded_prompts(settings, Cache(**{**vars(photos), "tensors": tensors}), ALONE)
    assert text["t5"].sum() == 6 * 32


def test_encoders_that_are_not_known_are_asked_for(tmp_path, encoders):
    _, photos = encoders
    settings = settings_of(tmp_path / "run", "validation.prompts=[two people]")
    with pytest.raises(ValueError, match=r"Run prepare\.py again.*validation\.t5 and validation\.clip"):
        encoded_prompts(settings, Cache(**{**vars(photos), "text_encoders": {}}), ALONE)
    gone = {**photos.text_encoders, "t5": str(tmp_path / "gone.safetensors")}
    moved = Cache(**{**vars(photos), "text_encoders": gone})
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors was there .*validation\.t5=PATH"):
        encoded_prompts(settings, moved, ALONE)
    named = (f"validation.t5={photos.text_encoders['t5']}", f"validation.t5_tokenizer={tmp_path / 't5'}")
    assert encoded_prompts(settings_of(tmp_path / "run", "validation.prompts=[two people]", *named), moved, ALONE)


def test_other_encoders_than_the_caches_are_refused(tmp_path, encoders):
    _, photos = encoders
    settings = settings_of(tmp_path / "run", "validation.prompts=[two people]")
    with pytest.raises(ValueError, match=r"made with other models: the text encoders t5xxl\.safetensors"):
        encoded_prompts(settings, Cache(**{**vars(photos), "files": {"t5 and clip": "0" * 64}}), ALONE)


def with_prompts(folder, prompts, *changes, photos=None):
    """A trainer whose prompts have the text of the cache's first photo."""
    photos = photos or small_cache(photos=6)
    trainer = small_trainer(folder, f"validation.prompts={prompts}", *changes, photos=photos)
    text = photos.text(photos.images[0])
    scenes = tuple(PromptScene(plan, text) for plan in planned(trainer.state.settings, photos))
    trainer.close()
    trainer = small_trainer(folder, f"validation.prompts={prompts}", *changes, photos=photos, prompts=scenes)
    return trainer


PROMPTS = f"[{{prompt: at the sea, people: {{person 0: {BOX}}}, seed: 7}}, {{prompt: at the sea, people: [person 0]}}]"


def test_a_prompt_is_always_drawn_alike_and_by_its_own_seed_and_box(tmp_path):
    init = f"adapter.init={random_adapter(tmp_path / 'withanyone.safetensors', shapes=(ARC,))}"
    shown = [with_prompts(tmp_path / name, PROMPTS, init).validator.generate()[1] for name in ("one", "two")]
    assert len(shown[0]) == 3
    assert all(np.array_equal(*pair) for pair in zip(*shown, strict=True))
    assert np.abs(shown[0][1].astype(float) - shown[0][2]).max() > 2
    moved = with_prompts(tmp_path / "three", PROMPTS.replace("0.25", "0.0"), init).validator.generate()[1]
    assert np.abs(shown[0][1].astype(float) - moved[1]).max() > 2
    assert np.array_equal(shown[0][2], moved[2])


def test_held_out_photos_are_generated_as_without_prompts(tmp_path):
    plain = small_trainer(tmp_path / "plain", photos=small_cache(photos=6)).validator.generate()
    beside = with_prompts(tmp_path / "beside", PROMPTS).validator.generate()
    assert plain[0] == beside[0]
    assert np.array_equal(plain[1][0], beside[1][0])


SHORT = ("optim.steps=2", "validation.every_steps=1", "save.every_steps=1")


@pytest.mark.parametrize("photos", [1, 0])
def test_images_of_prompts_are_kept_and_shown_with_and_without_held_out_photos(tmp_path, photos):
    folder = tmp_path / "run"
    trainer = with_prompts(folder, PROMPTS, *SHORT, f"validation.num_images={photos}")
    train(trainer)
    finish(trainer)
    trainer.close()
    names = ["prompt_01_at_the_sea", "prompt_02_at_the_sea"]
    for step in range(3):
        made = sorted(path.stem for path in (folder / f"previews/step-{step:06d}").glob("*.png"))
        assert made[-2:] == names
        assert len(made) == 2 + photos
    text, page = ((folder / name).read_text(encoding="utf-8") for name in ("report.md", "report.html"))
    assert "## Your prompts" in text
    assert "they are in no judgement" in text
    assert all(f"previews/step-000002/{name}.png" in text for name in names)
    assert "at the sea (person 0)" in page
    assert page.count("data:image/jpeg") >= 2 * 3
    assert (folder / "filmstrip.jpg").is_file()
    assert [row["step"] for row in read_rows(folder / "validation.csv")] == ["0", "1", "2"]


class Faces:
    """Finds the red of an image's middle as a person: the redder, the more like the reference."""

    def faces(self, photo):
        height, width = photo.shape[:2]
        color = photo[height // 2, width // 2]
        box = (0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height)
        angle = color[0] / 255 * np.pi / 2
        return (Face(box, 0.9, np.zeros((5, 2), np.float32), np.array([np.cos(angle), np.sin(angle)], np.float32)),)


class Judge:
    info, fingerprint = JudgeInfo("small"), "small"

    def embed(self, photo, faces):
        return np.array([face.embedding for face in faces])


def level(red):
    return np.full((64, 64, 3), red, np.uint8)


def test_scores_compare_with_the_persons_photos(tmp_path):
    """Embeddings lie on a quarter of a circle: the reference at 0, the photos at its end, the image between."""
    (plan,) = plans(tmp_path, "[{prompt: x, people: {person 0: [0.2, 0.2, 0.8, 0.8]}}]")
    scene = PromptScene(plan, small_cache().dummy_text(0))
    models = SimpleNamespace(analysis=Faces(), judges=(Judge(),))
    known = KnownPeople((level(0),), ((level(255), level(255)),))
    for red, likeness, copying in ((0, 0.0, 1.0), (255, 1.0, -1.0), (85, np.cos(np.pi / 3), 1 / 3)):
        scores = score_prompts([level(red)], [scene], [known], models, 0)["images"][scene.name]
        assert scores["sim_photos"] == pytest.approx(likeness, abs=1e-5)
        assert scores["copy_paste"] == pytest.approx(copying, abs=2e-3)  # an arc cosine near 1
        assert scores["leakage"] is None
    # Each photo counts by itself, as each held-out photo does.
    two = KnownPeople((level(0),), ((level(255), level(0)),))
    found = score_prompts([level(255)], [scene], [two], models, 0)
    assert found["sim_photos"]["mean"] == pytest.approx(0.5, abs=1e-5)
    alone = score_prompts([level(85)], [scene], [KnownPeople((level(0),), ((),))], models, 0)["images"][scene.name]
    assert (alone["sim_photos"], alone["copy_paste"]) == (None, None)
    assert alone["sim_ref"] == pytest.approx(np.cos(np.pi / 6), abs=1e-5)


def test_judges_of_training_score_no_prompt(tmp_path):
    (plan,) = plans(tmp_path, "[x]")
    seen = SimpleNamespace(info=JudgeInfo("seen", trained_with=True), embed=None)
    models = SimpleNamespace(analysis=Faces(), judges=(seen,))
    scene = PromptScene(plan, small_cache().dummy_text(0))
    assert score_prompts([level(0)], [scene], [KnownPeople((), ())], models, 0) == {}


def test_scores_of_prompts_are_logged_and_reported_but_judge_nothing(tmp_path):
    folder = tmp_path / "run"
    trainer = with_prompts(folder, PROMPTS, *SHORT, "validation.num_images=0")
    trainer.validator.evaluation_models = SimpleNamespace(analysis=Faces(), judges=(Judge(),), fingerprint="small")
    train(trainer)
    finish(trainer)
    trainer.close()
    last = read_rows(folder / "validation.csv")[-1]
    assert -1 <= float(last["prompts_sim_photos"]) <= 1
    assert float(last["prompts_sim_ref"]) == pytest.approx(
        trainer.state.progress.measured[-1]["prompts"]["sim_ref"]["mean"]
    )
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# run: not judged")
    assert re.search(r"\| Sim\(photos\) \| [-0-9.]+ \| [-0-9.]+ \|", text)
    assert "which is not defined without a target photo" in text
    assert trainer.state.verdict.best_step is None
