"""Sample Until Alike in ComfyUI's classes: what it keeps, says and warns of, and what an interruption leaves."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from comfy.cli_args import LatentPreviewMethod
from withanyone_pack.nodes.searching import SampleUntilAlike
from withanyone_pack.tests.comfyui.sampling import applied, difference, prompt, small_adapter, two_faces
from withanyone_pack.tests.comfyui.small_flux import small_flux
from withanyone_pack.withanyone_core.faces.alignment import TEMPLATE_PX
from withanyone_pack.withanyone_core.identity import Face
from withanyone_pack.withanyone_core.regions.layout import PlacedFace
from withanyone_pack.withanyone_core.sampling_search.judging import SearchJudge

SIDE_PX = 64
SIGMAS = torch.tensor([1.0, 0.85, 0.7, 0.4, 0.0])
EMPTY = torch.zeros(1, 16, 16, 20)
GUIDANCE = 4.0
UNREACHABLE = {"lowest_similarity": 0.99, "highest_similarity": 1.0}
FACES = two_faces()
WIDGETS = [
    ("noise_seed", {"default": 0, "min": 0, "max": 2**64 - 1}),
    ("draws", {"default": 8, "min": 1, "max": 64}),
    ("stop_at", {"default": 0.25, "min": 0.01, "max": 1.0}),
    ("finish", {"default": 2, "min": 1, "max": 64}),
    ("lowest_similarity", {"default": 0.45, "min": -1.0, "max": 1.0}),
    ("highest_similarity", {"default": 0.75, "min": -1.0, "max": 1.0}),
    ("copy_paste_ceiling", {"default": 0.2, "min": -1.0, "max": 1.0}),
    ("lowest_weight", {"default": 1.0, "min": 0.05, "max": 3.0}),
    ("highest_weight", {"default": 1.0, "min": 0.05, "max": 3.0}),
    ("weight_draws", {"default": 4, "min": 0, "max": 64}),
]
SOCKETS = ["guider", "sampler", "sigmas", "latent_image", "vae", "faces", "face_analysis"]
SETTINGS = {name: options["default"] for name, options in WIDGETS}


class LevelVAE:
    """An image of one level for a latent: that of its mean."""

    def decode(self, latent):
        level = torch.sigmoid(5 * latent.mean(dim=(1, 2, 3)))
        return level[:, None, None, None].repeat(1, SIDE_PX, 2 * SIDE_PX, 3)


class LevelFaces:
    """Two faces, each the more like its person the brighter the image is."""

    def __init__(self, model_name=""):
        self.model_name = model_name

    def faces(self, photo):
        alike = float(photo.mean()) / 255
        return tuple(self.face(number, face, alike) for number, face in enumerate(FACES))

    def face(self, number, face, alike):
        own = face.identity.arcface.numpy()
        other = np.roll(own, 7)
        other = other - own * (own @ other) / (own @ own)
        embedding = alike * own + np.sqrt(1 - alike**2) * other * np.linalg.norm(own) / np.linalg.norm(other)
        box = tuple(side * SIDE_PX * factor for side, factor in zip(face.region.as_tuple(), (2, 1, 2, 1), strict=True))
        return Face(box, 0.9 - 0.01 * number, TEMPLATE_PX, embedding.astype(np.float32))


@pytest.fixture
def base():
    return small_flux()


@pytest.fixture
def model(base, tmp_path):
    return applied(base, small_adapter(tmp_path), FACES)


def guider_of(model):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt(0), [])
    guider.set_cfg(1.0)
    return guider


def run(model, latent=None, faces=FACES, analysis=None, second_photos=None, sigmas=SIGMAS, **settings):
    """The latent, the images and the table."""
    return SampleUntilAlike.execute(
        guider_of(model),
        comfy.samplers.sampler_object("euler"),
        sigmas,
        latent or {"samples": EMPTY},
        LevelVAE(),
        faces,
        analysis or LevelFaces(),
        second_photos=second_photos,
        **SETTINGS | settings,
    ).result


def one_run(model, seed, samples=EMPTY, **choices):
    """What SamplerCustomAdvanced makes of a seed."""
    start = comfy.sample.prepare_noise(samples, seed)
    euler = comfy.samplers.sampler_object("euler")
    return guider_of(model).sample(start, samples, euler, SIGMAS, disable_pbar=True, seed=seed, **choices)


def similarities(model, seeds):
    return {seed: LevelVAE().decode(one_run(model, seed)).mean().item() for seed in seeds}


def rows(table):
    return [line for line in table.splitlines() if re.match(r"\| \d", line)]


def test_sockets_and_widgets_keep_their_order():
    schema = SampleUntilAlike.GET_SCHEMA()
    assert [entry.id for entry in schema.inputs] == [*SOCKETS, *(name for name, _ in WIDGETS), "second_photos"]
    widgets = {entry.id: entry.as_dict() for entry in schema.inputs}
    for name, options in WIDGETS:
        assert options.items() <= widgets[name].items()
    assert [output.display_name for output in schema.outputs] == ["latent", "images", "table"]
    assert schema.category == "WithAnyone"


def test_one_draw_is_what_ksampler_makes(model):
    latent, images, _ = run(model, draws=1, noise_seed=3, **UNREACHABLE)
    wanted = comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(EMPTY, 3),
        steps=len(SIGMAS) - 1,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=prompt(0),
        negative=[],
        latent_image=EMPTY,
        sigmas=SIGMAS,
        seed=3,
        disable_pbar=True,
    )
    assert torch.equal(latent["samples"], wanted)
    assert torch.equal(images, LevelVAE().decode(wanted))


def test_the_best_of_the_finished_is_kept_and_the_table_says_what_was_spent(model):
    latent, images, table = run(model, draws=4, noise_seed=20, stop_at=0.5, finish=2, **UNREACHABLE)
    alike = similarities(model, range(20, 24))
    finished = {int(row.split("|")[2]) for row in rows(table) if row.endswith("| 4 | finished |")}
    best = max(finished, key=alike.get)
    assert len(finished) == 2
    assert f"seed {best}." in table.splitlines()[1]
    assert difference(latent["samples"], one_run(model, best)) < 1e-5
    assert images.shape == (1, SIDE_PX, 2 * SIDE_PX, 3)
    assert "4 draws, judged after step 2 of 4, 2 finished; 12 forwards." in table
    stopped = [row for row in rows(table) if "| 2 | step 2 of 4, stopped: less promising than the 2 finished |" in row]
    assert len(stopped) == 2


def test_it_stops_as_soon_as_everybody_is_inside(model):
    _, _, table = run(model, draws=4, lowest_similarity=-1.0, highest_similarity=1.0)
    assert table.startswith("Ended: everybody is inside the window.")
    assert len(rows(table)) == 1


def test_the_same_seed_gives_the_same_image_and_table(model):
    first, again = (run(model, draws=3, noise_seed=4, **UNREACHABLE) for _ in range(2))
    assert torch.equal(first[0]["samples"], again[0]["samples"])
    assert first[2] == again[2]


def test_each_image_of_a_batch_is_searched_for_on_its_own(model):
    samples = EMPTY.repeat(2, 1, 1, 1)
    latent, images, table = run(model, {"samples": samples}, draws=3, noise_seed=9, **UNREACHABLE)
    assert latent["samples"].shape == samples.shape
    assert len(images) == 2
    assert "Image 2 of the batch" in table
    for place, part in enumerate(table.split("\n\nImage 2")):
        kept = int(re.search(r"seed (\d+)\.", part)[1])
        wanted = one_run(model, kept, samples)
        assert difference(latent["samples"][place], wanted[place]) < 1e-5


def test_weights_are_searched_between_their_bounds(model):
    _, _, table = run(model, draws=1, stop_at=0.5, lowest_weight=0.5, highest_weight=1.5, weight_draws=2, **UNREACHABLE)
    weights = [re.findall(r"\| ([\d.]+), ", row) for row in rows(table)]
    assert weights[:2] == [["1", "1"], ["1.25", "1.25"]]
    assert all(0.5 <= float(weight) <= 1.5 for row in weights for weight in row)
    *_, fixed = run(model, draws=1, lowest_weight=1.5, highest_weight=1.5, weight_draws=2, **UNREACHABLE)
    assert len(rows(fixed)) == 1


def test_bounds_the_wrong_way_round_are_refused(model):
    with pytest.raises(ValueError, match="expected the lowest first"):
        run(model, lowest_weight=1.5, highest_weight=0.5)


def test_a_judge_that_conditions_is_warned_of(model, caplog):
    with caplog.at_level(logging.WARNING, "withanyone"):
        _, _, table = run(model, draws=1)
    assert "A recognizer flatters images that it conditions" in caplog.text
    assert "A recognizer flatters images that it conditions" in table


@pytest.mark.parametrize(
    ("made_with", "judge", "words"),
    [
        ("antelopev2/glintr100.onnx", "antelopev2/glintr100.onnx", "made the embeddings"),
        ("other/w600k_r50.onnx", "antelopev2/glintr100.onnx", "took part in the adapter's training"),
        ("antelopev2/glintr100.onnx", "buffalo_l/w600k_r50.onnx", None),
    ],
)
def test_which_judges_are_warned_of(made_with, judge, words, caplog):
    faces = [PlacedFace(replace(face.identity, face_model=made_with), face.region) for face in FACES]
    with caplog.at_level(logging.WARNING, "withanyone"):
        notes = SearchJudge(faces, LevelFaces(judge)).notes
    assert any(words in note for note in notes) if words else not any("Warning" in note for note in notes)
    assert bool(words) == ("flatters" in caplog.text)


def test_copy_paste_is_known_by_second_photos_alone(model):
    _, _, without = run(model, draws=1)
    assert "Copy-paste is unknown" in without
    assert "(copy-paste unknown)" in rows(without)[0]
    other = torch.full((2, SIDE_PX, 2 * SIDE_PX, 3), 0.3)
    _, _, known = run(model, draws=1, second_photos=other)
    assert "unknown" not in known
    assert re.search(r"\(copy-paste -?\d\.\d\d\)", rows(known)[0])


def test_nobody_to_judge_is_refused(model):
    nobody = tuple(PlacedFace(face.identity, face.region, weight=0.0) for face in FACES)
    with pytest.raises(ValueError, match="Nobody is expected"):
        run(model, faces=nobody)


class Interrupted:
    """Presses the button in the middle of a forward pass."""

    def __init__(self, model, forward):
        self.model, self.forward, self.done = model.clone(), forward, 0
        self.model.add_wrapper_with_key("predict_noise", "button", self.count)

    def count(self, executor, *args, **kwargs):
        self.done += 1
        if self.done == self.forward:
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()
        return executor(*args, **kwargs)


@pytest.mark.parametrize(
    ("forward", "words"),
    [(6, "the clean estimate of a draw that was not finished"), (10, "3 draws, judged after step 2 of 4, 1 finished")],
)
def test_an_interruption_returns_the_best_so_far(model, forward, words):
    pressed = Interrupted(model, forward).model
    latent, images, table = run(pressed, draws=3, stop_at=0.5, **UNREACHABLE)
    assert table.startswith("Ended: interrupted.")
    assert words in table
    assert f"{forward} forwards." in table
    assert latent["samples"].shape == EMPTY.shape
    assert images.isfinite().all()
    assert not comfy.model_management.processing_interrupted()


def test_an_interruption_with_nothing_to_return_is_one(model):
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(Interrupted(model, 1).model, draws=3, **UNREACHABLE)


def test_an_interrupted_batch_keeps_the_images_that_are_there(model):
    mask = torch.ones(3, 16, 20)
    samples = 0.1 * torch.ones(3, 16, 16, 20)
    latent = {"samples": samples, "noise_mask": mask, "batch_index": [0, 1, 2]}
    pressed = Interrupted(model, 5).model
    kept, images, table = run(pressed, latent, draws=1, **UNREACHABLE)
    assert len(kept["samples"]) == len(kept["noise_mask"]) == len(kept["batch_index"]) == len(images) == 1
    assert "Image 2" not in table


def test_progress_runs_over_all_steps_with_previews(model, monkeypatch):
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.Latent2RGB)
    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: seen.append((value, total, preview))
    )
    run(model, draws=3, stop_at=0.5, finish=1, **UNREACHABLE)
    steps = [(value, total) for value, total, preview in seen if preview is not None]
    assert steps == [(number, 8) for number in range(1, 9)]
    assert all(preview[0] == "JPEG" for _, _, preview in seen if preview is not None)


def test_what_a_mask_of_the_latent_keeps_stays(model):
    """What the latent's mask keeps stays as it is in every draw, and so in the one that is kept."""
    mask = torch.zeros(1, 16, 20)
    mask[..., :10] = 1.0
    samples = 0.3 * torch.ones_like(EMPTY)
    latent, _, _ = run(model, {"samples": samples, "noise_mask": mask}, draws=3, stop_at=0.5, **UNREACHABLE)
    assert difference(latent["samples"][..., 10:], samples[..., 10:]) < 1e-4
    assert difference(latent["samples"][..., :10], samples[..., :10]) > 0.1
