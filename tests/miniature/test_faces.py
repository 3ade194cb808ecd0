"""The miniature's face models: the shipped files are those of their cards and do their work behind the real doors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from withanyone_pack.tests.pack import ROOT, add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from withanyone_pack.miniature.evidence.faces import DET_SIZE, landmarks_px, matched, unseen_portrait, unseen_scene
from withanyone_pack.miniature.evidence.figures import correlation, mean, share, table
from withanyone_pack.miniature.models.classifiers import FACE_PX, PICTURE_PX, load_classifiers
from withanyone_pack.miniature.models.detector import FACES_PX, STRIDES
from withanyone_pack.miniature.models.onnx_files import read_weights
from withanyone_pack.miniature.recipes import detector, recogniser
from withanyone_pack.miniature.recipes.cards import digest_of, read_cards
from withanyone_pack.miniature.recipes.pool import PICTURE, Pool, face_records
from withanyone_pack.miniature.recipes.scenes import TRAINING_PEOPLE, training_scene
from withanyone_pack.miniature.recipes.training import Recipe, load_state, new_run, save_state, take_step, train
from withanyone_pack.miniature.recipes.upright import unit_levels
from withanyone_pack.miniature.world import person_of, render
from withanyone_pack.miniature.world.renderer import seen_faces
from withanyone_pack.nodes.siglip import load_siglip, siglip_encoder
from withanyone_pack.withanyone_core.faces.analysis import load_face_analysis
from withanyone_pack.withanyone_core.faces.crop import face_crop
from withanyone_pack.withanyone_core.faces.selection import left_to_right
from withanyone_pack.withanyone_core.metrics.judges import load_judge

WEIGHTS = ROOT / "miniature/weights"
MODELS = ("detector", "recogniser", "judge", "siglip", "classifiers")
MOST_BYTES = {"detector": 0.8e6, "recogniser": 3e6, "judge": 2e6, "siglip": 3e6, "classifiers": 1e6}
SHORT_PX = 96
SHORT_STEPS = 3
SHORT_LOSS = 3.66586


@pytest.fixture(scope="module")
def analysis():
    return load_face_analysis(WEIGHTS / "faces", det_size=DET_SIZE)


@pytest.fixture(scope="module")
def judge():
    return load_judge(WEIGHTS / "judge.json")


@pytest.fixture(scope="module")
def short_pool():
    """Twelve small scenes with what a pool knows of their faces."""
    scenes = [training_scene(5, number) for number in range(12)]
    drawn = [render(scene, SHORT_PX, SHORT_PX) for scene in scenes]
    faces = [
        face_records(scene, picture.faces, SHORT_PX, place)
        for place, (scene, picture) in enumerate(zip(scenes, drawn, strict=True))
    ]
    pictures = np.zeros(len(scenes), PICTURE)
    pictures["count"] = [len(scene.people) for scene in scenes]
    return Pool(np.stack([picture.pixels for picture in drawn]), pictures, np.concatenate(faces), 0.0)


@pytest.mark.parametrize("name", MODELS)
def test_files_are_those_of_the_card(name):
    card = read_cards(WEIGHTS)[name]
    assert card.files
    assert {file: digest_of(WEIGHTS / file) for file in card.files} == card.files
    assert sum(digest.bytes for digest in card.files.values()) <= MOST_BYTES[name]
    assert (ROOT / card.recipe).is_file()
    assert card.seconds > 0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_insightface_finds_the_people_of_a_scene_in_order(analysis, number):
    picture = unseen_scene(number)
    found = analysis.faces(picture.pixels)
    matches = matched(picture, found)
    assert len(found) == len(picture.faces) == number + 1
    truth = landmarks_px(picture)
    order = [next(i for i, match in enumerate(matches) if match is found[place]) for place in left_to_right(found)]
    middles_px = [80 * (picture.faces[i].box[0] + picture.faces[i].box[2]) for i in order]
    assert (np.diff(middles_px) > -4).all()  # people one above the other stand at about the same place
    for match, points in zip(matches, truth, strict=True):
        between_eyes = np.linalg.norm(points[1] - points[0])
        assert np.linalg.norm(match.landmarks_px - points, axis=1).mean() < 0.25 * between_eyes


def test_the_usual_detection_size_will_do_too():
    picture = unseen_portrait(3)
    best, *_ = load_face_analysis(WEIGHTS / "faces").faces(picture.pixels)
    assert matched(picture, (best,)) == [best]


def test_both_recognisers_tell_people_apart(analysis, judge):
    people = range(4)
    photos = [[unseen_scene(50_000 + 8 * i + 3 * k, person_of(TRAINING_PEOPLE + i)) for k in range(2)] for i in people]
    faces = [[matched(photo, analysis.faces(photo.pixels))[0] for photo in pair] for pair in photos]
    arc = np.array([[face.embedding for face in pair] for pair in faces])
    judged = np.array(
        [
            [judge.embed(photo.pixels, [face])[0] for photo, face in zip(*both, strict=True)]
            for both in zip(photos, faces, strict=True)
        ]
    )
    assert arc.shape[-1] == 512
    assert judged.shape[-1] == judge.width == 256
    for vectors in (arc, judged):
        units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        cosines = units[:, 0] @ units[:, 1].T
        others = cosines[~np.eye(len(people), dtype=bool)]
        assert np.diag(cosines).min() > others.max()


def test_the_judge_only_judges(judge):
    assert not judge.info.trained_with


def test_siglip_loads_through_the_packs_loader(analysis):
    picture = unseen_scene(1)
    encode = siglip_encoder(load_siglip(WEIGHTS / "siglip.safetensors"))
    boxes = [face.box_px for face in analysis.faces(picture.pixels)]
    moved = tuple(edge + 1 for edge in boxes[0])
    first, second, again = (encode(face_crop(picture.pixels, box)) for box in (*boxes, moved))
    assert first.shape == (64, 192)
    assert torch.isfinite(first).all()
    # another person is farther away than the same one cut a pixel off
    assert (first - second).norm() > 2 * (first - again).norm()


def test_classifiers_name_what_a_scene_shows(short_pool):
    classifiers = load_classifiers(WEIGHTS / "classifiers.safetensors")
    pixels = np.stack([_resized(picture, PICTURE_PX) for picture in short_pool.pixels])
    named = classifiers.picture.named(unit_levels(pixels))
    right = [int(answer) == count for answer, count in zip(named["count"], short_pool.pictures["count"], strict=True)]
    assert np.mean(right) >= 0.9
    crops = [
        _resized(face_crop(short_pool.pixels[face["picture"]], tuple(face["box"])), FACE_PX)
        for face in short_pool.faces
    ]
    told = classifiers.face.named(unit_levels(np.stack(crops)))["direction"]
    assert (
        np.mean([d == ("left", "ahead", "right")[i] for d, i in zip(told, short_pool.faces["direction"], strict=True)])
        > 0.9
    )


def test_a_short_training_run_ends_at_a_fixed_loss(short_pool):
    """From the shipped recogniser, with directions as new as the seed makes them."""
    recipe = replace(recogniser.RECIPE, warmup=1)
    run = new_run(recipe, seed=0, steps=SHORT_STEPS, device="cpu")
    read_weights(WEIGHTS / recogniser.FILE, run.module.net)
    train(recipe, run, recogniser.batches_of((short_pool,), seed=0, batch=8))
    assert run.step == SHORT_STEPS
    # bf16 products are summed in another order by other processors.
    assert run.loss == pytest.approx(SHORT_LOSS, rel=0.02)


@pytest.mark.parametrize("matrices", [lambda _: (), lambda module: [module[0].weight]], ids=["adamw", "muon"])
def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path, matrices):
    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))

    class Sums:
        seconds = 0.0

        def __call__(self, step):
            numbers = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            return numbers, numbers.sum(1, keepdim=True)

    def loss(module, batch):
        return (module(batch[0]) - batch[1]).float().square().mean()

    recipe = Recipe("sums", 12, 1e-2, build, lambda *_: Sums(), loss, lambda *_: (), warmup=3, matrices=matrices)
    whole = new_run(recipe, device="cpu")
    train(recipe, whole, Sums())
    begun = new_run(recipe, device="cpu")
    for step in range(5):
        take_step(recipe, begun, Sums()(step))
    save_state(begun, tmp_path / "state.safetensors")
    resumed = new_run(recipe, seed=9, device="cpu")
    load_state(resumed, tmp_path / "state.safetensors")
    train(recipe, resumed, Sums())
    assert resumed.losses == whole.losses
    for kept, expected in ((resumed.module, whole.module), (resumed.average, whole.average)):
        assert all(torch.equal(*pair) for pair in zip(kept.parameters(), expected.parameters(), strict=True))
    with pytest.raises(FileNotFoundError, match=r"no state .*Leave out --resume"):
        load_state(resumed, tmp_path / "none.safetensors")


def test_muon_turns_its_matrices_and_nothing_else():
    """All directions of a matrix take steps of one size, as large as AdamW's on average (arXiv 2502.16982, eq. 4)."""
    loss = lambda module, batch: (module(batch[0]) - batch[1]).float().square().mean()  # noqa: E731
    recipe = Recipe(
        "turn",
        1,
        1e-2,
        lambda: nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8)),
        lambda *_: None,
        loss,
        lambda *_: (),
        weight_decay=0.0,
        warmup=0,
        matrices=lambda module: [module[0].weight],
    )
    run = new_run(recipe, device="cpu")
    before = [parameter.detach().clone() for parameter in run.module.parameters()]
    take_step(recipe, run, (torch.randn(64, 8), torch.randn(64, 8)))
    moved, bias, second, _ = (now.detach() - old for now, old in zip(run.module.parameters(), before, strict=True))
    sizes = torch.linalg.svdvals(moved)
    assert sizes.min() > 0.5 * sizes.max()
    assert moved.square().mean().sqrt().item() == pytest.approx(0.2e-2, rel=0.3)
    assert torch.allclose(bias.abs(), torch.full_like(bias, 1e-2), rtol=0.01)
    assert torch.allclose(second.abs(), torch.full_like(second, 1e-2), rtol=0.01)


def test_faces_are_known_without_drawing():
    scene = training_scene(5, 3)
    for known, drawn in zip(seen_faces(scene, 96, 96), render(scene, 96, 96).faces, strict=True):
        assert known.box == drawn.box
        assert (known.landmarks == drawn.landmarks).all()


def test_the_judge_learns_from_strangers(short_pool):
    first = replace(short_pool, faces=short_pool.faces[:3])
    strangers = short_pool.without_people_of((first,))
    assert len(strangers.faces) == len(short_pool.faces) - 3
    assert strangers.pixels is short_pool.pixels


def test_mirrored_and_turned_faces_keep_left_and_right(short_pool):
    rng = np.random.default_rng(0)
    faces = short_pool.faces[short_pool.faces["picture"] == 0]
    for _ in range(20):
        _, lines = detector._placed(short_pool.pixels[0], faces, 160, rng)
        for line in lines:
            points = line[4:].reshape(5, 2)
            assert points[0, 0] < points[1, 0]
            assert points[3, 0] < points[4, 0]
            assert (points[2] > line[:2]).all()
            assert (points[2] < line[2:4]).all()


def test_every_size_of_face_has_an_anchor():
    """Faces of 45 to 500 pixels in the middle of a picture; their anchors ask for them and name the right one."""
    for side_px in (45, 60, 90, 130, 190, 260, 380, 500):
        face = torch.full((1, 1, 14), 320.0)
        face[0, 0, :4] += torch.tensor([-0.5, -0.5, 0.5, 0.5]) * side_px
        must = 0
        for stride, sides in zip(STRIDES, FACES_PX, strict=True):
            cells = 640 // stride
            nearest, required, allowed = detector._assigned(torch.Size((1, 2, cells, cells)), face, stride, sides)
            must += int(required.sum())
            assert (nearest[required] == 0).all()
            assert not (required & ~allowed).any()
        assert must >= 1, side_px


def test_figures_have_their_intervals():
    sure = share("all", [True] * 100, 99.0)
    assert (sure.value, sure.high, sure.reached) == (100.0, pytest.approx(100.0), True)
    assert sure.low == pytest.approx(96.3, abs=0.05)  # Wilson's for 100 of 100
    level = mean("mean", np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
    assert (level.value, level.low, level.high) == (2.0, 1.0, 3.0)
    alike = correlation("alike", np.arange(50.0), np.arange(50.0))
    assert alike.value == pytest.approx(1.0)
    assert correlation("never wrong", np.zeros(9, bool), np.ones(9, bool)).value == 0.0
    missed = share("few", [True, False], 99.0)
    assert "99 % (missed)" in table([missed])
    with pytest.raises(ValueError, match="Nothing was measured for none"):
        share("none", [])


def _resized(picture, side_px):
    import cv2

    return cv2.resize(np.asarray(picture), (side_px, side_px), interpolation=cv2.INTER_AREA)
