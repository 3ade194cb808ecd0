"""The evaluation: its samples, images and results, and the whole command with an adapter that knows nothing."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from withanyone_pack.nodes.siglip import load_siglip, siglip_encoder

from miniature.lab import evaluate
from miniature.lab.evidence import sections
from miniature.lab.evidence.dataset import Dataset, References
from miniature.lab.evidence.evaluate import Evaluator, RememberedFaces
from miniature.lab.evidence.images import Verdict, judged
from miniature.lab.evidence.results import key_of
from miniature.lab.evidence.sections import changed_outside
from miniature.lab.recipes.base_model import ARC, SIG
from miniature.lab.steering import ImageRequest, shipped_photo_reader, shipped_siglip, shipped_steered_generator
from miniature.models.classifiers import load_classifiers
from miniature.weights_folder import ADAPTER, WEIGHTS
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.shape import Branch
from withanyone_core.metrics.judges import load_judge
from withanyone_core.regions.layout import Box

LEFT, RIGHT = Box(0.05, 0.2, 0.45, 0.7), Box(0.55, 0.2, 0.95, 0.7)
DATASET = Dataset()


def test_samples_use_everybody_before_anybody_again():
    for count in (1, 2, 3, 4):
        turns = DATASET.people // count
        people = [place for at in range(turns) for place in DATASET.sample(0, at, count).people]
        assert len(set(people)) == len(people) == turns * count
    together = DATASET.samples(0, 100)
    assert len(together) == 400
    assert {place for each in together for place in each.people} == set(range(200))
    assert len({each.seed for each in (*together, *DATASET.samples(1, 100), *Dataset(seed=1).samples(0, 100))}) == 1200


def test_a_sample_is_its_scene_and_its_boxes_are_the_spots():
    one, again = DATASET.sample(0, 3, 4), DATASET.sample(0, 3, 4)
    assert one.caption == again.caption
    np.testing.assert_array_equal(one.truth, again.truth)
    spots = [(0, 0, 80, 80), (80, 0, 160, 80), (16, 96, 96, 176), (96, 96, 176, 176)]
    assert [box.to_px(176, 176) for box in one.boxes] == spots
    assert Dataset(seed=1).sample(0, 3, 4).caption != one.caption
    moved = Dataset(first_person=1_500_000).portrait(0, 81, 0)
    assert not np.array_equal(moved, DATASET.portrait(0, 81, 0))


def test_people_who_were_trained_on_are_refused():
    with pytest.raises(ValueError, match=r"--first-person 999999 .*expected .* a person of 1000000 or more"):
        Dataset(first_person=999_999)


def test_change_is_measured_outside_the_boxes():
    one = DATASET.sample(0, 0, 1)
    blank = np.zeros((176, 176, 3), np.uint8)
    x1, y1, x2, y2 = (round(edge) for edge in one.boxes[0].to_px(176, 176))
    inside, everywhere = blank.copy(), np.full_like(blank, 9)
    inside[y1:y2, x1:x2] = 200
    assert changed_outside(one, blank, inside) == 0
    assert changed_outside(one, everywhere, blank) == 9


def test_the_key_changes_with_weights_and_settings_but_not_with_cards(tmp_path):
    (tmp_path / "cards").mkdir()
    (tmp_path / "a.safetensors").write_bytes(b"1")
    first = key_of(tmp_path, {"steps": 20})
    (tmp_path / "cards" / "a.json").write_text("new")
    assert key_of(tmp_path, {"steps": 20}) == first
    assert key_of(tmp_path, {"steps": 4}) != first
    (tmp_path / "a.safetensors").write_bytes(b"2")
    assert key_of(tmp_path, {"steps": 20}) != first


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The shipped weights beside an adapter of random numbers."""
    folder = tmp_path_factory.mktemp("weights")
    for path in WEIGHTS.iterdir():
        if path.name != ADAPTER:
            (folder / path.name).symlink_to(path, target_is_directory=path.is_dir())
    torch.manual_seed(0)
    shapes = [ARC, SIG]
    save_file(file_tensors(AdapterNetwork(shapes).state_dict(), dtype=torch.float16), folder / ADAPTER)
    return folder


@pytest.fixture(scope="module")
def reader():
    return shipped_photo_reader()


def test_the_patch_encoder_is_that_of_the_nodes():
    crop = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    ours, theirs = shipped_siglip()(crop), siglip_encoder(load_siglip(WEIGHTS / "siglip.safetensors"))(crop)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_images_depend_on_their_own_wishes_alone(weights, reader):
    generator = shipped_steered_generator(weights)
    first, second = (reader.identity_of(1_000_000 + number) for number in range(2))
    caption = "two people, park, sunset: left happy left, right calm ahead"
    request = [
        ImageRequest(caption, 1, (first, second), (LEFT, RIGHT)),
        ImageRequest(caption, 1, (second, first), (LEFT, RIGHT)),
        ImageRequest(caption, 1, (first,), (LEFT,)),
        ImageRequest(caption, 1),
    ]
    together = generator.generate(request, steps=2)
    alone = generator.generate(request[:1], steps=2)
    nobody = generator.generate(request[:1], steps=2, weights=dict.fromkeys(Branch, 0.0))
    np.testing.assert_allclose(together[0].astype(int), alone[0].astype(int), atol=1)
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together[0], together[2])
    np.testing.assert_allclose(together[3].astype(int), nobody[0].astype(int), atol=1)
    assert not np.array_equal(together[0], together[3])
    form = generator.generate(request[:1], resemblance=1.0, steps=2)
    only_sig = generator.generate(request[:1], weights={Branch.ARC: 0.0, Branch.SIG: 1.0}, steps=2)
    np.testing.assert_array_equal(form, only_sig)
    assert not np.array_equal(form[0], alone[0])


def test_people_without_places_are_refused(reader):
    with pytest.raises(ValueError, match="1 people were given 0 places"):
        ImageRequest("one person", 1, (reader.identity_of(1_000_000),))


@pytest.fixture(scope="module")
def evaluator(reader):
    """Who knows the people of one sample as its truth shows them, and nobody else."""
    analysis, judge = RememberedFaces(reader.analysis), load_judge(WEIGHTS / "judge.json")
    one = DATASET.sample(0, 0, 2)
    faces = sorted(analysis.faces(one.truth), key=lambda face: face.box_px[0])
    gallery = np.random.default_rng(0).normal(size=(DATASET.people, judge.width))
    gallery[list(one.people)] = judge.embed(one.truth, faces)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    return Evaluator(analysis, judge, load_classifiers(WEIGHTS / "classifiers.safetensors"), gallery, gallery)


def test_the_evaluator_knows_the_drawn_people(evaluator):
    one = DATASET.sample(0, 0, 2)
    found = evaluator.judged(one.truth, one)
    assert found.nearest == list(one.people)
    assert found.faces == [1, 1]
    assert found.ranks == [0, 0]
    assert found.sim_gt == pytest.approx(1)
    assert found.likeness[0][0] == pytest.approx(1, abs=1e-4)
    empty = evaluator.judged(np.zeros_like(one.truth), one)
    assert empty.nearest == [None, None]
    assert empty.faces == [0, 0]
    assert empty.sim_gt == 0


def test_what_a_caption_got_is_read_in_each_spot(evaluator):
    one = DATASET.sample(0, 0, 2)
    whole = evaluator.adherence(one.truth, one)
    half = one.truth.copy()
    half[:, :88] = half[:5, :88].mean((0, 1)).astype(np.uint8)
    lost = judged(one, half, evaluator.analysis, evaluator.classifiers)
    assert whole == Verdict(True, True, True, (True, True), (True, True))
    assert not lost.count
    assert lost.expressions == lost.directions == (False, True)


def test_references_take_each_others_boxes(reader):
    one, references = DATASET.sample(0, 1, 2), References(DATASET, reader)
    straight, exchanged = references.request(one), references.request(one, exchanged=True)
    assert straight.people == exchanged.people
    assert straight.regions == exchanged.regions[::-1] == one.boxes
    assert straight.seed == exchanged.seed
    assert [face.identity for face in references.placed(one)] == list(straight.people)


def test_the_command_measures_once_and_writes_a_report(weights, tmp_path, monkeypatch, capsys):
    out = tmp_path / "EVALUATION.md"
    arguments = ["--weights", weights, "--scratch", tmp_path / "kept", "--out", out, "--images", 1, "--people", 8]
    arguments = [str(each) for each in (*arguments, "--id-weight", 1, "--seed", 3, "--first-person", 1_200_000)]

    assert evaluate.main([*arguments, "--only", "places"]) == 1
    assert "missed" in capsys.readouterr().out
    report = out.read_text()
    assert "## Who is where" in report
    assert "evaluate.py --seed 3 --first-person 1200000 --people 8 --images 1 --id-weight 1" in report
    assert "resemblance 0.5, id_weight 1, one photo" in report
    assert "| box shows its identity, four people | " in report
    assert "## What the caption says" not in report
    (kept,) = (tmp_path / "kept").glob("*.asked.jsonl")
    assert len(kept.read_text().splitlines()) == 4

    monkeypatch.setattr(sections.Studio, "generate", None)  # nothing is generated twice
    assert evaluate.main([*arguments, "--only", "prompt,places"]) == 1
    assert "| light in images with people | " in out.read_text()


def test_wrong_options_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--only", "placs"])
    assert "'placs'; expected some of places, prompt, meter, doctor" in capsys.readouterr().err
    assert evaluate.main(["--weights", str(tmp_path)]) == 2
    assert "no adapter file" in capsys.readouterr().err
    assert evaluate.main(["--first-person", "5"]) == 2
    assert "--first-person 5" in capsys.readouterr().err
