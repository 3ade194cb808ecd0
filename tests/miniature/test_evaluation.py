"""The evaluation: statistics on made-up verdicts, its results, the whole command with an adapter that knows nothing."""

import json
from dataclasses import asdict, replace

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
from miniature.lab.evidence import metrics, sections
from miniature.lab.evidence.dataset import Dataset, References
from miniature.lab.evidence.evaluate import Evaluator, Judged, RememberedFaces
from miniature.lab.evidence.figures import Figure, percentage, ranking, ratio, table
from miniature.lab.evidence.images import Verdict, judged
from miniature.lab.evidence.results import Results, key_of
from miniature.lab.evidence.sections import AskedRow, ExchangedRow, PickedRow, changed_outside
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


def value_of(figures, start):
    (found,) = [figure for figure in figures if figure.name.startswith(start)]
    return found


def seen(people, nearest=None, likeness=None, sim_gt=0.5):
    """An image in which everybody is who they should be, or as said."""
    sure = [[0.9 if place == other else 0.1 for other in range(len(people))] for place in range(len(people))]
    nearest = people if nearest is None else nearest
    ranks = [None if face is None else 12 * (face != person) for face, person in zip(nearest, people, strict=True)]
    faces = [int(face is not None) for face in nearest]
    return Judged(faces, nearest, ranks, sure if likeness is None else likeness, sim_gt, 0.4, 0.1)


def row_of(number, people, **changes):
    said = Verdict(True, True, True, (True,) * len(people), (True,) * len(people))
    likeness = [[0.8 if place == other else 0.1 for other in range(len(people))] for place in range(len(people))]
    values = {
        "asked": seen(people),
        "alone": seen(people, nearest=[199] * len(people)),
        "drawn": people,
        "said": said,
        "alone_said": said,
        "meter": likeness,
        "alone_meter": [[0.05] * len(people) for _ in people],
        "changed": 1.0,
        "by_seed": 4.0,
    }
    return AskedRow(number, people, **(values | changes))


@pytest.fixture
def rows():
    return [row_of(4 * at + count, list(range(at, at + count))) for at in range(10) for count in (1, 2, 3, 4)]


def test_figures_of_a_perfect_adapter(rows):
    exchanged = [
        ExchangedRow(each.number, each.people, seen(each.people, each.people[::-1], [[0.1, 0.9], [0.9, 0.1]]))
        for each in rows
        if len(each.people) == 2
    ]

    figures = metrics.places_figures(rows, exchanged)

    assert all(figure.reached for figure in figures), table(figures)
    assert value_of(figures, "box shows its identity, three people").value == 100
    assert value_of(figures, "exactly one face").value == 100
    assert value_of(figures, "exchanged boxes").value == 100
    assert value_of(figures, "both boxes").value == 100
    assert value_of(figures, "change outside").value == pytest.approx(0.25)


def test_a_lost_face_and_a_stranger_are_missed(rows):
    people = rows[1].people
    rows[1] = replace(rows[1], asked=seen(people, nearest=[None, people[1]]))
    rows[5] = replace(rows[5], asked=seen(rows[5].people, nearest=[77, rows[5].people[1]]))
    figures = metrics._named(rows)
    assert value_of(figures, "box shows its identity, two people").value == pytest.approx(90)
    assert value_of(figures, "exactly one face").value == 99
    assert value_of(figures, "its identity is among").value == 98


def test_boxes_that_do_not_swap_people_are_reported(rows):
    pairs = [each for each in rows if len(each.people) == 2]
    stubborn = [ExchangedRow(each.number, each.people, seen(each.people)) for each in pairs]
    figures = metrics.places_figures(rows, stubborn)
    assert value_of(figures, "exchanged boxes").value == 0
    assert value_of(figures, "both boxes").value == 0
    assert not value_of(figures, "exchanged boxes").reached


def test_identities_at_weight_0_are_more_than_chance(rows):
    known = [replace(each, alone=each.asked) for each in rows]
    assert not value_of([metrics._chance(known, 200)], "face in a box").reached
    nobody = [replace(each, alone=seen(each.people, nearest=[None] * len(each.people))) for each in rows]
    figure = metrics._chance(nobody, 200)
    assert figure.count == 0
    assert not figure.reached


def test_images_that_change_more_than_by_another_seed_are_reported(rows):
    changed = [replace(each, changed=5.0) for each in rows]
    figure = metrics._away(changed)
    assert figure.value == pytest.approx(1.25)
    assert not figure.reached


def test_prompt_figures_count_faces_and_images(rows):
    rows[1] = replace(rows[1], said=Verdict(True, True, False, (True, False), (False, False)))
    figures = metrics.prompt_figures(rows)
    assert value_of(figures, "direction in images with people").value == 98
    assert value_of(figures, "expression in images with people").value == 99
    assert value_of(figures, "light in images with people").value == pytest.approx(97.5)
    assert value_of(figures, "light in images at weight 0").value == 100
    assert [figure.name for figure in figures if not figure.reached] == ["light in images with people"]


def test_meter_figures_of_a_meter_that_is_right_and_one_that_is_not(rows):
    picked = [
        PickedRow(number, [1], [seen([1], sim_gt=0.1 * place + 0.01 * number) for place in range(4)], 3, 0)
        for number in range(12)
    ]
    figures = metrics.meter_figures(rows, picked)
    assert value_of(figures, "Identity Meter ranks the person").value == 1
    assert value_of(figures, "Identity Meter ranks faces").value == 1
    assert value_of(figures, "Identity Meter prefers").value == 100
    gain = value_of(figures, "Sim(GT) by Pick Best of 4, by the references alone")
    assert gain.value == pytest.approx(0.15)
    assert gain.reached
    loss = value_of(figures, "Sim(GT) by Pick Best of 4, by a second photo")
    assert loss.value == pytest.approx(-0.15)
    assert not loss.reached

    turned = [replace(each, meter=[row[::-1] for row in each.meter]) for each in rows]
    assert value_of(metrics.meter_figures(turned, picked), "Identity Meter ranks the person").value < 0.5


def sets_of_photos(copying):
    return [
        {
            "case": str(number),
            "when": number,
            "common": "all",
            "risk": number / len(copying),
            "scores": {"copy_paste": [value, None]},
        }
        for number, value in enumerate(copying)
    ]


def test_a_doctor_is_believed_from_twelve_sets_on():
    right = metrics.doctor_figures(sets_of_photos([0.1 * number for number in range(12)]))
    assert right[0].value == pytest.approx(1)
    assert right[0].reached
    wrong = metrics.doctor_figures(sets_of_photos([-0.1 * number for number in range(12)]))
    assert not wrong[0].reached
    few = metrics.doctor_figures(sets_of_photos([0.1 * number for number in range(11)]))
    assert few[0].value == pytest.approx(1)
    assert not few[-1].reached
    assert [figure.reached for figure in metrics.doctor_figures([])] == [False]
    assert "| not measured |  | 0 | 0 (missed) |" in table(metrics.doctor_figures([]))


def test_a_percentage_stays_within_a_hundred():
    assert all(0 <= percentage("s", [False] * count).low < 1e-9 for count in range(1, 40))
    assert all(100 >= percentage("s", [True] * count).high > 100 - 1e-9 for count in range(1, 40))


def test_ranking_counts_ties_half_and_draws_images():
    assert ranking("r", [[1.0], [2.0]], [[1.0], [0.0]]).value == pytest.approx(0.875)
    figure = ranking("r", [[1.0], [0.0]], [[0.5], [0.5]])
    assert figure.value == 0.5
    assert figure.low == 0
    assert figure.high == 1
    assert ranking("r", [[]], [[1.0]]).count == 0


def test_ratio_is_of_means():
    figure = ratio("r", np.array([1.0, 3.0]), np.array([4.0, 4.0]))
    assert figure.value == 0.5
    assert figure.low == 0.25
    assert figure.high == 0.75
    assert ratio("r", np.zeros(2), np.zeros(2)).count == 0


@pytest.mark.parametrize(
    ("figure", "text", "reached"),
    [
        (Figure("f", 0.2, -0.1, 0.5, 9, target=0.0), "0", True),
        (Figure("f", 0.2, -0.1, 0.5, 9, target=0.0, meets="interval"), "0, the whole interval (missed)", False),
        (Figure("f", 0.2, 0.1, 0.5, 9, target=0.0, meets="interval"), "0, the whole interval", True),
        (Figure("f", 2, 0.1, 5, 9, "%", 0.5, meets="around"), "0.5 % in the interval", True),
        (Figure("f", 2, 0.6, 5, 9, "%", 0.5, meets="around"), "0.5 % in the interval (missed)", False),
        (Figure("f", 2, 0.6, 5, 9, target=1.0, at_most=True), "at most 1 (missed)", False),
        (Figure("f", 0.9, 0.6, 5, 9, target=1.0, at_most=True, meets="interval"), "(missed)", False),
    ],
)
def test_what_meets_a_target(figure, text, reached):
    assert figure.reached is reached
    assert figure.target_text.endswith(text)


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


def test_results_resume_after_a_cut_line(tmp_path):
    results = Results(tmp_path / "new", "key")
    assert results.rows("asked") == {}
    results.append("asked", [row_of(1, [5])])
    path = tmp_path / "new" / "key.asked.jsonl"
    path.write_text(path.read_text() + json.dumps(asdict(row_of(2, [6])))[:30])
    results.append("asked", [row_of(3, [7])])
    assert sorted(results.rows("asked")) == [1, 3]
    assert Results(tmp_path / "new", "other").rows("asked") == {}


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
