"""What images are learned from, and that the pipeline learns: windows, guidance, the decoder, a minute's training."""

from functools import cached_property

import cv2
import numpy as np
import pytest
import torch
from withanyone_pack.tests.miniature import small_training
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.diffusers_models import shipped_autoencoder, shipped_base_model
from miniature.lab.recipes import autoencoder, base_model, decoder, text
from miniature.lab.recipes.base_model import PULL, guided_velocity, predict
from miniature.lab.recipes.classifiers import FILE as CLASSIFIERS
from miniature.lab.recipes.latents import LARGEST_GUIDANCE, Latents, encode
from miniature.lab.recipes.scenes import signed_pixels, training_scene
from miniature.lab.recipes.training import new_run, take_step
from miniature.models.caption_ids import word_ids
from miniature.models.classifiers import FACE_PX, load_classifiers
from miniature.weights_folder import VAE_FILE, WEIGHTS
from miniature.world.scene import CELLS, SPOT_CELLS, SPOTS
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.faces.crop import face_crop

SCENES = 8
LEAST_DIRECTIONS = 0.6  # a third are right by chance


@pytest.fixture(scope="module")
def latents():
    """The first scenes of those that all models learn from; people's embeddings are their numbers."""
    pool = small_training.pool_of([training_scene(0, number) for number in range(SCENES)])
    embeddings = np.arange(len(pool.faces), dtype=np.float32)[:, None].repeat(512, 1)
    return Latents(pool, encode(pool.pixels), embeddings, seed=0, windows=6, scenes=4, window_steps=50, plain_steps=10)


def test_encoded_scenes_are_standardized(latents):
    assert latents.encoded.shape == (SCENES, 8, 2 * CELLS, 2 * CELLS)
    deviations = latents.encoded.astype(np.float32).std(axis=(0, 2, 3))
    assert ((deviations > 0.6) & (deviations < 1.6)).all()


def test_a_window_is_cut_from_its_scene_with_its_person_in_it(latents):
    rng = np.random.default_rng(0)
    for spot, faces in enumerate(latents._faces_of_spot):
        if not len(faces):
            continue
        batch = latents.windows_of(rng, faces, spot)
        assert batch.corner.tolist() == [SPOTS[spot].column, SPOTS[spot].row]
        for row, face in enumerate(faces):
            top, left = 2 * SPOTS[spot].row, 2 * SPOTS[spot].column
            side = 2 * SPOT_CELLS
            whole = latents.encoded[latents.pool.faces["image"][face]]
            assert np.array_equal(batch.clean[row].numpy(), whole[:, top : top + side, left : left + side])
            assert (batch.embedding[row] == face).all()
            shown = batch.members[row, 0].reshape(SPOT_CELLS, SPOT_CELLS)
            assert not shown.any() or shown[2, 2]


def test_windows_come_first_and_guidance_last(latents):
    assert latents(0).clean.shape[-1] == 2 * SPOT_CELLS
    whole = latents(latents.window_steps)
    assert whole.clean.shape[-1] == 2 * CELLS
    assert whole.members.shape == (latents.scenes, whole.embedding.shape[1], CELLS**2)
    assert not (whole.members.sum(1) > 1).any()  # no cell is two people's
    assert (latents(latents.plain_steps - 1).guidance == 1).all()
    guided = torch.cat([latents(step).guidance for step in range(latents.plain_steps, latents.plain_steps + 20)])
    assert 1 < guided.max() <= LARGEST_GUIDANCE
    assert latents(3).clean.equal(latents(3).clean)


def test_a_person_without_the_caption_or_the_box_is_in_no_cell(latents):
    batch = latents(0)
    assert not batch.unconditional().members.any()
    assert batch.unconditional().t5_ids.equal(word_ids([""])[0].expand(len(batch.clean), -1))


@torch.no_grad()
def test_guidance_pulls_further_to_what_captions_and_people_say(latents):
    torch.manual_seed(0)
    module = base_model.InTraining()
    batch = latents(0)._replace(guidance=torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0, 1.0]))
    plain, target = batch.noise - batch.clean, guided_velocity(module, batch)
    changed = (target - plain).flatten(1).abs().sum(1)
    assert changed[1] > 0
    assert not changed[[0, 2, 3, 4, 5]].any()
    one = batch.rows(torch.tensor([1]))
    shown, without_people = (
        predict(module.model, module.adapter, each, torch.ones(1)) for each in (one, one.unconditional())
    )
    torch.testing.assert_close(target[1] - plain[1], (2 * PULL * (shown - without_people))[0], atol=1e-5, rtol=1e-3)


class Foreseen(decoder.Estimates):
    """By the shipped base model alone: the adapter that learned with it is not shipped."""

    @cached_property
    def _models(self):
        return shipped_base_model(), AdapterNetwork([base_model.ARC])


def test_only_the_decoder_learns_from_estimates(latents):
    run = new_run(decoder.RECIPE, seed=0, device="cpu")
    before = {name: tensor.clone() for name, tensor in run.module.autoencoder.state_dict().items()}
    estimates, pixels, *answers = Foreseen(latents)(0)
    assert estimates.shape[2:] == (2 * SPOT_CELLS, 2 * SPOT_CELLS)
    take_step(decoder.RECIPE, run, (estimates, pixels, *answers))
    after = run.module.autoencoder.state_dict().items()
    assert {name.partition(".")[0] for name, tensor in after if not tensor.equal(before[name])} == {"decoder"}


def test_a_caption_longer_than_the_model_reads_is_refused():
    with pytest.raises(ValueError, match="has 41 tokens; the model reads 24"):
        word_ids(["happy " * 40])


def test_a_minute_of_training_learns_directions():
    """The recipe at 64 channels; where nothing is learned, a third of the directions are right."""
    run, scenes = small_training.trained(), small_training.unseen(48)
    windows = small_training.sampled(run.average, scenes)
    left, top, _, _ = SPOTS[small_training.SPOT].box_px
    x, y = (center - corner for center, corner in zip(SPOTS[small_training.SPOT].center_px, (left, top), strict=True))
    crops = [face_crop(window, (x - 24, y - 28, x + 24, y + 28)) for window in windows]
    sized = [cv2.resize(crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA) for crop in crops]
    answers = load_classifiers(WEIGHTS / CLASSIFIERS).face.named(signed_pixels(np.stack(sized)))["direction"]
    right = [answer == scene.people[0].look.direction for answer, scene in zip(answers, scenes, strict=True)]
    assert np.mean(right) > LEAST_DIRECTIONS


@pytest.mark.parametrize("recipe", [text.RECIPE, autoencoder.RECIPE, base_model.RECIPE], ids=lambda recipe: recipe.name)
def test_weights_are_for_everybody_who_may_read_the_folder(recipe, tmp_path):
    """safetensors' own mode is for the owner alone, which breaks an installation shared by several users."""
    (tmp_path / "usual").write_text("")
    files = recipe.export(recipe.build(), tmp_path)
    assert files
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in written} == {(tmp_path / "usual").stat().st_mode}
    assert not [path for path in written if path.suffix == ".part"]


def test_an_exported_vae_is_opened_by_diffusers_with_its_weights(tmp_path):
    saved = autoencoder.save(shipped_autoencoder(), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in saved] == [VAE_FILE, "vae/config.json"]
    assert saved[0].read_bytes() == (WEIGHTS / VAE_FILE).read_bytes()
    assert shipped_autoencoder(tmp_path).config.latent_channels == shipped_autoencoder().config.latent_channels
