"""The shipped picture models are those of their cards, and their recipes go on from them as they did before."""

from itertools import count

import numpy as np
import pytest
import torch
from withanyone_pack.tests.pack import ROOT, add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from withanyone_pack.miniature.generation import shipped_painter
from withanyone_pack.miniature.models.text import END_ID
from withanyone_pack.miniature.recipes import autoencoder, coded_scenes, decoder, picture_model
from withanyone_pack.miniature.recipes.caption_ids import word_ids
from withanyone_pack.miniature.recipes.cards import digest_of, read_cards
from withanyone_pack.miniature.recipes.face_reader import FaceReader, face_crops, faces_of
from withanyone_pack.miniature.recipes.scenes import feature_cells, rendered_scenes, signed_pixels, training_scene
from withanyone_pack.miniature.recipes.training import new_run, take_step
from withanyone_pack.miniature.weights_folder import WEIGHTS
from withanyone_pack.miniature.world.look import DIRECTIONS, EXPRESSIONS
from withanyone_pack.miniature.world.renderer import seen_faces

SEED = 77
STEPS = 2
# bf16 products are summed in another order by other processors
TOLERANCE = 0.02
DECODING_LOSS = 0.07543
PICTURE_LOSS, VELOCITY_ERROR = 4.39208, 0.67228
READING_FROM = next(phase.start for phase in coded_scenes.PHASES if phase.reading_weight)


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


def batches_of(scenes, features=None):
    pixels, captions = scenes
    mean, deviation = coded_scenes.coded(pixels)
    own = [training_scene(SEED, index) for index in range(len(pixels))]
    if features is None:
        features = np.stack([feature_cells(scene, mean.shape[-1]) for scene in own])
    return coded_scenes.CodedScenes(mean, deviation, features, faces_of(own), captions, seed=0, size=len(pixels))


def run_from_the_shipped():
    run = new_run(picture_model.RECIPE, seed=0, device="cpu")
    run.module.model.load_state_dict(shipped_painter().model.state_dict())
    return run


def test_a_short_run_of_the_picture_model_ends_at_a_fixed_loss(scenes):
    batches, run = batches_of(scenes), run_from_the_shipped()
    first = next(step for step in count(coded_scenes.PLAIN_STEPS) if batches(step).guidance.gt(1).any())
    for step in range(first, first + STEPS):
        take_step(picture_model.RECIPE, run, batches(step))
    assert run.loss == pytest.approx(PICTURE_LOSS, rel=TOLERANCE)
    # the larger part of that is a reader's who knows nothing yet
    assert velocity_error(run.module.model, batches(first)) == pytest.approx(VELOCITY_ERROR, rel=TOLERANCE)


@torch.no_grad()
def velocity_error(model, batch):
    target = picture_model.guided_velocity(model, batch)
    return picture_model.velocity_error(model(*batch[:5]), target, batch.weight).item()


def test_each_phase_draws_its_noise_and_reads_by_its_weight(scenes):
    batches = batches_of(scenes)

    def middle(first):
        levels = torch.cat([batches(step).level for step in range(first, first + 100)])
        return (levels / (1 - levels)).log().mean().item()

    for phase in coded_scenes.PHASES:
        assert middle(phase.start) == pytest.approx(phase.middle, abs=0.15)
        assert batches(phase.start).reading_weight.max().item() == pytest.approx(phase.reading_weight)


def test_a_phase_lasts_until_the_next_starts():
    first, second, *_, last = coded_scenes.PHASES
    assert coded_scenes.phase_of(0) == coded_scenes.phase_of(second.start - 1) == first
    assert coded_scenes.phase_of(second.start) == second
    assert coded_scenes.phase_of(10 * last.start) == last


def test_reading_teaches_the_picture_model_and_only_the_renderer_teaches_the_reader(scenes):
    batch, module = batches_of(scenes)(READING_FROM), run_from_the_shipped().module
    velocity = batch.velocity.clone().requires_grad_()
    faces = face_crops(batch.clean(velocity), batch.owner, batch.box)
    module.reader.teaching_loss(faces, batch.answer).mean().backward()
    assert velocity.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in module.reader.parameters())
    module.reader.learning_loss(faces.detach(), batch.answer).backward()
    assert all(parameter.grad is not None for parameter in module.reader.parameters())


def test_the_reader_learns_what_rendered_faces_show(scenes):
    batch = batches_of(scenes)(0)
    faces = face_crops(batch.clean(batch.velocity), batch.owner, batch.box)
    torch.manual_seed(0)
    reader = FaceReader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3)
    losses = []
    for _ in range(40):
        losses.append(reader.learning_loss(faces, batch.answer))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > 2.5 > 0.3 > losses[-1]


def test_faces_are_read_only_where_they_are_spoken_of_and_not_from_the_start(scenes):
    batches = batches_of(scenes)
    assert not batches(0).reading_weight.any()
    silent = 0
    for step in range(READING_FROM, READING_FROM + 30):
        batch = batches(step)
        spoken_of = batch.t5_ids[:, 0] != END_ID
        silent += int((~spoken_of).sum())
        assert batch.reading_weight.gt(0).equal(spoken_of[batch.owner])
    assert silent


def test_a_cropped_face_is_what_is_in_its_box():
    rows = torch.arange(20.0)[:, None].expand(20, 20)
    picture = torch.stack((rows, rows.T))[None]
    (face,) = face_crops(picture, torch.tensor([0]), torch.tensor([[0.1, 0.2, 0.5, 0.6]]))
    assert face[0, :, 0].tolist() == pytest.approx(range(4, 12))
    assert face[1, 0].tolist() == pytest.approx(range(2, 10))


def test_faces_of_chosen_scenes_are_counted_anew():
    scenes = [training_scene(SEED, index, people) for index, people in enumerate((1, 2, 3))]
    chosen = faces_of(scenes).of(np.array([0, 2]))
    assert chosen.owner.tolist() == [0, 1, 1, 1]
    assert chosen.answer[0].tolist() == [
        EXPRESSIONS.index(scenes[0].people[0].look.expression),
        DIRECTIONS.index(scenes[0].people[0].look.direction),
    ]


def test_coding_gives_latents_of_deviation_one(scenes):
    mean, _ = coded_scenes.coded(scenes[0])
    assert mean.shape == (4, 16, 20, 20)
    assert np.abs(np.sqrt((mean.astype(np.float32) ** 2).mean()) - 1) < 0.2


def test_a_caption_longer_than_the_model_reads_is_refused():
    with pytest.raises(ValueError, match="has 41 tokens; the model reads 32"):
        word_ids(["happy " * 40])


def test_feature_cells_hold_the_landmarks_and_little_else():
    scene = training_scene(SEED, 1)
    cells = feature_cells(scene, 20)
    for face in seen_faces(scene, 160, 160):
        columns, rows = (face.landmarks * 20).astype(int).T
        assert cells[rows, columns].all()
    assert cells.mean() < 0.3


def test_a_wrong_feature_weighs_more(scenes):
    features = np.zeros((len(scenes[0]), 20, 20), bool)
    features[:, 4:8, 4:8] = True
    weight = batches_of(scenes, features)(0).weight
    assert weight[:, :, 4:8, 4:8].eq(coded_scenes.FEATURE_WEIGHT).all()
    assert weight.sum() == len(features) * (400 + 16 * (coded_scenes.FEATURE_WEIGHT - 1))
