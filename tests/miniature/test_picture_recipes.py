"""The shipped picture models are those of their cards, and their recipes go on from them as they did before."""

import numpy as np
import pytest
from withanyone_pack.tests.pack import ROOT, add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from withanyone_pack.miniature.generation import shipped_painter
from withanyone_pack.miniature.recipes import autoencoder, decoder, picture_model
from withanyone_pack.miniature.recipes.cards import digest_of, read_cards
from withanyone_pack.miniature.recipes.scenes import feature_cells, rendered_scenes, signed_pixels, training_scene
from withanyone_pack.miniature.recipes.training import new_run, take_step
from withanyone_pack.miniature.weights_folder import WEIGHTS
from withanyone_pack.miniature.world.renderer import seen_faces

SEED = 77
STEPS = 2
# bf16 products are summed in another order by other processors
TOLERANCE = 0.02
DECODING_LOSS = 0.07543
VELOCITY_LOSS = 0.58551


@pytest.fixture(scope="module")
def scenes():
    return rendered_scenes(SEED, 0, 4)


@pytest.mark.parametrize("name", ["adapter", "autoencoder", "picture_model"])
def test_files_are_those_of_the_card(name):
    card = read_cards(WEIGHTS)[name]
    assert card.files
    assert {file: digest_of(WEIGHTS / file) for file in card.files} == card.files
    assert (ROOT / card.recipe).is_file()


def test_a_short_run_of_the_decoder_ends_at_a_fixed_loss(scenes):
    run = new_run(decoder.RECIPE, seed=0, device="cpu")
    for _ in range(STEPS):
        take_step(decoder.RECIPE, run, (signed_pixels(scenes[0]),))
    assert run.loss == pytest.approx(DECODING_LOSS, rel=TOLERANCE)
    shipped = autoencoder.shipped_autoencoder().state_dict()
    for name, tensor in run.module.state_dict().items():
        assert name.startswith("decoder.") or tensor.equal(shipped[name])


def test_a_short_run_of_the_picture_model_ends_at_a_fixed_loss(scenes):
    pixels, captions = scenes
    mean, deviation = picture_model.coded(pixels)
    features = np.stack([feature_cells(training_scene(SEED, index), mean.shape[-1]) for index in range(len(pixels))])
    batches = picture_model.CodedScenes(mean, deviation, features, captions, seed=0, size=len(pixels))
    run = new_run(picture_model.RECIPE, seed=0, device="cpu")
    run.module.load_state_dict(shipped_painter().model.state_dict())
    for step in range(STEPS):
        take_step(picture_model.RECIPE, run, batches(picture_model.PLAIN_STEPS + step))
    assert run.loss == pytest.approx(VELOCITY_LOSS, rel=TOLERANCE)


def test_coding_gives_latents_of_deviation_one(scenes):
    mean, _ = picture_model.coded(scenes[0])
    assert mean.shape == (4, 16, 20, 20)
    assert np.abs(np.sqrt((mean.astype(np.float32) ** 2).mean()) - 1) < 0.2


def test_a_caption_longer_than_the_model_reads_is_refused():
    with pytest.raises(ValueError, match="has 41 tokens; the model reads 32"):
        picture_model.word_ids(["happy " * 40])


def test_feature_cells_hold_the_landmarks_and_little_else():
    scene = training_scene(SEED, 1)
    cells = feature_cells(scene, 20)
    for face in seen_faces(scene, 160, 160):
        columns, rows = (face.landmarks * 20).astype(int).T
        assert cells[rows, columns].all()
    assert cells.mean() < 0.3


def test_a_wrong_feature_weighs_more(scenes):
    pixels, captions = scenes
    mean, deviation = picture_model.coded(pixels)
    features = np.zeros((len(pixels), *mean.shape[-2:]), bool)
    features[:, 4:8, 4:8] = True
    *_, weight = picture_model.CodedScenes(mean, deviation, features, captions, seed=0, size=len(pixels))(0)
    assert weight[:, :, 4:8, 4:8].eq(picture_model.FEATURE_WEIGHT).all()
    assert weight.sum() == len(pixels) * (400 + 16 * (picture_model.FEATURE_WEIGHT - 1))
