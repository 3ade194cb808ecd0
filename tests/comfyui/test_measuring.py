"""Identity Meter, Pick Best and Compare Batches inside ComfyUI: sockets, real photographs, words."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from withanyone_pack.tests.pack import TESTBED, add_comfyui

os.environ.setdefault("WITHANYONE_TESTBED", str(TESTBED))
add_comfyui()

import folder_paths
from withanyone_pack.nodes.measuring import NODES, Compare, IdentityMeter, PickBest
from withanyone_pack.tests.comfyui.photos import GROUP, images
from withanyone_pack.tests.comfyui.standins.standin_faces import StandinFaces
from withanyone_pack.tests.gray_faces import LEFT, GrayFaces, at_angle, batch, gray_image, person, placed
from withanyone_pack.withanyone_core.meter.numbers import TRAINED_WITH_WORDS
from withanyone_pack.withanyone_core.metrics.case import CaseScores
from withanyone_pack.withanyone_core.metrics.summary import summarize
from withanyone_pack.withanyone_core.regions.layout import Box

ANN, ANN_TRUE, BEN, BEN_TRUE = 40, 50, 80, 90
TURNED = {ANN: (0.0, 0, 1), ANN_TRUE: (0.5, 0, 1), BEN: (0.0, 2, 3), BEN_TRUE: (0.5, 2, 3)}
EMBEDDINGS = {level: 20 * at_angle(*turn) for level, turn in TURNED.items()}
FACES = placed(person("Ann", EMBEDDINGS[ANN]), person("Ben", EMBEDDINGS[BEN]))
TRUTH = batch(gray_image(ANN_TRUE, BEN_TRUE))
GOOD, SWAPPED, NOBODY = gray_image(ANN, BEN), gray_image(BEN, ANN), gray_image(0, 0)

# Saved workflows keep widget values by position: these orders, types, defaults and limits may grow only at the end.
WHO = [("faces", "WITHANYONE_FACES", {}), ("face_analysis", "WITHANYONE_FACE_ANALYSIS", {})]
AGAINST = [("truth", "IMAGE", {"optional": True}), ("second_photos", "IMAGE", {"optional": True})]
ANYWHERE = [
    (name, "WITHANYONE_IDENTITY", {"optional": True}) for name in ("identity", "identity_2", "identity_3", "identity_4")
]
SOCKETS = {
    "WithAnyoneIdentityMeter": (
        [("images", "IMAGE", {}), ("faces", "WITHANYONE_FACES", {"optional": True}), WHO[1], *AGAINST, *ANYWHERE],
        [("IMAGE", "table"), ("IMAGE", "plot"), ("STRING", "numbers"), ("STRING", "diagnosis")],
    ),
    "WithAnyonePickBest": (
        [
            ("images", "IMAGE", {}),
            *WHO,
            ("keep", "INT", {"default": 1, "min": 1, "max": 4096}),
            (
                "score",
                "COMBO",
                {"options": ["likeness", "likeness minus copying", "least leakage"], "default": "likeness"},
            ),
            *AGAINST,
        ],
        [("IMAGE", "images"), ("STRING", "scores"), ("STRING", "indices")],
    ),
    "WithAnyoneCompare": (
        [
            ("images_a", "IMAGE", {}),
            ("images_b", "IMAGE", {}),
            *WHO,
            ("name_a", "STRING", {"default": "A"}),
            ("name_b", "STRING", {"default": "B"}),
            ("bootstrap_seed", "INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
            *AGAINST,
        ],
        [("IMAGE", "chart"), ("STRING", "numbers")],
    ),
}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_sockets_and_widgets_keep_their_order(node):
    schema = node.GET_SCHEMA()
    inputs, outputs = SOCKETS[schema.node_id]
    assert [(entry.id, entry.get_io_type()) for entry in schema.inputs] == [(name, kind) for name, kind, _ in inputs]
    for entry, (_, _, settings) in zip(schema.inputs, inputs, strict=True):
        options = entry.as_dict()
        assert {key: options[key] for key in settings if key != "optional"} == {
            key: value for key, value in settings.items() if key != "optional"
        }
        assert entry.optional == settings.get("optional", False)
    assert [(entry.get_io_type(), entry.display_name) for entry in schema.outputs] == outputs
    ids = [entry.id for entry in (*schema.inputs, *schema.outputs)]
    assert len(set(ids)) == len(ids)


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "temp"


def analysis(**choices):
    return GrayFaces(EMBEDDINGS, **choices)


def test_the_meter_gives_a_table_a_plot_and_numbers(temp):
    judge = analysis()
    output = IdentityMeter.execute(batch(GOOD, SWAPPED, NOBODY), judge, FACES, truth=TRUTH)
    table, plot, numbers, diagnosis = output.result
    assert table.shape[0] == plot.shape[0] == 1
    assert table.shape[3] == plot.shape[3] == 3
    assert table.dtype == torch.float32
    shown = [np.asarray(Image.open(temp / image["filename"])) for image in output.ui["images"]]
    assert [image.shape[:2] for image in shown] == [tuple(table.shape[1:3]), tuple(plot.shape[1:3])]
    assert judge.asked == 4
    numbers = json.loads(numbers)
    scores = [CaseScores.from_json(line) for line in numbers["images"]]
    assert summarize(scores).to_json() == numbers["summary"]
    assert [score.copy_paste for score in scores] == [pytest.approx(1, abs=1e-3), pytest.approx(0, abs=1), None]
    assert numbers["likeness"][1]["face_of"]["1 Ann"]["2 Ben"] == pytest.approx(1, abs=1e-5)
    assert numbers["likeness"][2]["lost"] == ["1 Ann", "2 Ben"]
    assert diagnosis.splitlines()[2:] == [
        "image 2, 1 Ann: swapped with 2 Ben",
        "image 2, 2 Ben: swapped with 1 Ann",
        "image 3, 1 Ann: lost",
        "image 3, 2 Ben: lost",
    ]
    assert numbers["summary"]["detection_rate"] == pytest.approx(4 / 6)


def test_the_meter_works_with_second_photos_and_without_anything():
    second = batch(gray_image(ANN_TRUE), gray_image(BEN_TRUE))
    numbers = json.loads(IdentityMeter.execute(batch(GOOD), analysis(), FACES, second_photos=second).result[2])
    assert numbers["compared_with"] == "second photos"
    assert numbers["images"][0]["means"]["copy_paste"] == pytest.approx(1, abs=1e-3)
    numbers = json.loads(IdentityMeter.execute(batch(GOOD), analysis(), FACES).result[2])
    assert numbers["compared_with"] is None
    assert numbers["images"][0]["means"]["copy_paste"] is None
    assert (
        "There is no ground truth: Sim(GT), copy-paste and blending cannot be computed."
        in (numbers["images"][0]["notes"])
    )


def test_people_without_a_place_are_found_anywhere():
    people = {"identity": FACES[0].identity, "identity_2": FACES[1].identity}
    twice = gray_image(ANN, ANN_TRUE)
    output = IdentityMeter.execute(batch(SWAPPED, twice), analysis(), **people)
    numbers = json.loads(output.result[2])
    assert numbers["images"][0]["method"] == "references"
    verdicts = [{each["person"]: each["name"] for each in line["findings"]} for line in numbers["diagnosis"]]
    assert "swapped" not in verdicts[0].values()  # nobody has a place that somebody else could be in
    assert verdicts[1]["2 Ben"] == "dominated"
    assert output.result[3].splitlines()[-1] == "image 2, 2 Ben: dominated by 1 Ann"
    assert "1 Ann" in numbers["likeness"][0]["face_of"]


def test_people_with_and_without_a_place_are_measured_together():
    placed_ann = placed(FACES[0].identity, boxes=(LEFT,))
    numbers = json.loads(
        IdentityMeter.execute(batch(GOOD), analysis(), placed_ann, identity=FACES[1].identity).result[2]
    )
    assert numbers["people"] == ["1 Ann", "2 Ben"]
    assert [each["person"] for each in numbers["diagnosis"][0]["findings"]] == ["1 Ann", "2 Ben"]
    assert numbers["summary"]["detection_rate"] == 1


def test_nobody_expected_is_said():
    with pytest.raises(ValueError, match="or people to identity"):
        IdentityMeter.execute(batch(GOOD), analysis())


def test_the_trainings_recognizer_is_marked():
    judge = analysis(model_name="antelopev2/glintr100.onnx")
    numbers = json.loads(IdentityMeter.execute(batch(GOOD), judge, FACES).result[2])["judge"]
    assert numbers == {"name": "ArcFace R100 (Glint360K)", "trained_with": True, "remark": TRAINED_WITH_WORDS}
    assert not json.loads(IdentityMeter.execute(batch(GOOD), analysis(), FACES).result[2])["judge"]["remark"]


def test_pick_best_keeps_the_best_in_order():
    images = batch(NOBODY, gray_image(ANN, 0), GOOD, SWAPPED)
    kept, scores, indices = PickBest.execute(images, FACES, analysis(), 2, "likeness").result
    assert indices == "2, 1"
    assert torch.equal(kept, images[[2, 1]])
    numbers = json.loads(scores)
    assert numbers["kept"] == [2, 1]
    assert [line["index"] for line in numbers["images"]] == [2, 1, 0, 3]
    assert numbers["images"][1]["score"] == pytest.approx(0.5, abs=1e-6)
    everything = PickBest.execute(images, FACES, analysis(), 99, "least leakage").result
    assert everything[2] == "2, 3, 1, 0"
    assert everything[0].shape == images.shape


def test_pick_best_leaves_transparency_as_it_was():
    images = torch.cat([batch(GOOD), torch.ones(1, 64, 128, 1)], dim=-1)
    assert torch.equal(PickBest.execute(images, FACES, analysis(), 1, "likeness").result[0], images)


def test_pick_best_says_what_a_score_needs():
    copying = PickBest.execute(batch(GOOD, GOOD), FACES, analysis(), 1, "likeness minus copying", truth=TRUTH)
    assert json.loads(copying.result[1])["images"][0]["score"] == pytest.approx(np.cos(0.5) - 1, abs=1e-3)
    with pytest.raises(ValueError, match="connect truth or second_photos, or choose 'likeness'"):
        PickBest.execute(batch(GOOD), FACES, analysis(), 1, "likeness minus copying")


def test_compare_shows_two_batches(temp):
    judge = analysis()
    arguments = (batch(GOOD, GOOD), batch(GOOD, SWAPPED), FACES, judge, "old", " ", 7)
    output = Compare.execute(*arguments, truth=TRUTH)
    chart, numbers = output.result
    assert judge.asked == 3  # equal images are one
    assert np.array_equal(
        np.asarray(Image.open(temp / output.ui["images"][0]["filename"])), (chart[0] * 255).round().byte().numpy()
    )
    assert Compare.execute(*arguments, truth=TRUTH).result[1] == numbers
    numbers = json.loads(numbers)
    assert (numbers["first"], numbers["second"], numbers["seed"]) == ("old", "B", 7)
    likeness = numbers["metrics"]["sim_ref"]
    assert likeness["paired"]
    assert likeness["second_minus_first"]["mean"] == pytest.approx(-0.5, abs=1e-6)
    assert likeness["second_minus_first"]["low"] == pytest.approx(-1, abs=1e-6)
    again = [[CaseScores.from_json(line) for line in side["images"]] for side in numbers["batches"]]
    assert [summarize(side, 7).to_json()["metrics"]["sim_ref"] for side in again] == [
        likeness["first"],
        likeness["second"],
    ]


def test_the_seed_chooses_the_resamples():
    levels = (ANN, BEN), (ANN_TRUE, BEN), (ANN_TRUE, BEN_TRUE), (ANN, 0), (ANN_TRUE, 0), (0, 0)
    images = batch(*(gray_image(*pair) for pair in levels))
    intervals = [
        json.loads(Compare.execute(images, images, FACES, analysis(), "A", "B", seed).result[1])["metrics"]["sim_ref"]
        for seed in (0, 0, 1)
    ]
    assert intervals[0] == intervals[1]
    assert intervals[0]["first"]["mean"] == intervals[2]["first"]["mean"]
    assert intervals[0]["first"]["low"] != intervals[2]["first"]["low"]


def test_batches_of_unequal_length_and_one_image_are_compared():
    numbers = json.loads(Compare.execute(batch(GOOD), batch(GOOD, SWAPPED), FACES, analysis(), "A", "B", 0).result[1])
    assert not numbers["metrics"]["sim_ref"]["paired"]
    assert numbers["metrics"]["sim_ref"]["first"]["low"] is None
    two = torch.cat([TRUTH, TRUTH])
    with pytest.raises(ValueError, match="truth holds 2 images and images_a 1; expected one truth for all"):
        Compare.execute(batch(GOOD), batch(GOOD, SWAPPED), FACES, analysis(), "A", "B", 0, truth=two)


@pytest.mark.parametrize("name", ["truth", "second_photos"])
def test_broken_images_to_compare_with_are_refused(name):
    broken = torch.full((2, 8, 8, 3), torch.nan)
    with pytest.raises(ValueError, match=f"{name}: photo 1 holds 192 values that are NaN"):
        IdentityMeter.execute(batch(GOOD), analysis(), FACES, **{name: broken})
    with pytest.raises(ValueError, match=f"{name}: the IMAGE batch is empty"):
        IdentityMeter.execute(batch(GOOD), analysis(), FACES, **{name: broken[:0]})


@pytest.fixture(scope="module")
def photo():
    return Image.open(images() / GROUP).convert("RGB")


@pytest.fixture(scope="module")
def remembered():
    """The stand-in, asked once about each image: a detection takes seconds."""

    class Remembering:
        def __init__(self):
            self.kept, self.real = {}, StandinFaces()

        def faces(self, seen):
            key = seen.shape, seen.tobytes()
            if key not in self.kept:
                self.kept[key] = self.real.faces(seen)
            return self.kept[key]

    return Remembering()


@pytest.fixture(scope="module")
def couple(photo, remembered):
    """Two people of the group photo: their faces as placed, the references cut out, turned and halved."""
    width, height = photo.size
    found = sorted(remembered.faces(np.asarray(photo)), key=lambda face: face.box_px[0])[:2]
    people = [person(name, reference(photo, face, remembered)) for name, face in zip("AB", found, strict=True)]
    boxes = tuple(Box.from_px(*face.box_px, width, height) for face in found)
    return placed(*people, boxes=boxes)


def reference(photo, face, judge):
    x1, y1, x2, y2 = face.box_px
    room = 0.6 * (x2 - x1)
    cut = photo.crop(tuple(round(side) for side in (x1 - room, y1 - room, x2 + room, y2 + room))).rotate(7)
    return judge.faces(np.asarray(cut.resize((cut.width // 2, cut.height // 2))))[0].embedding


def test_real_people_are_told_apart(photo, couple, remembered):
    image = np.asarray(photo)
    strangers = np.roll(image, image.shape[1] // 3, axis=1)
    numbers = json.loads(IdentityMeter.execute(batch(image, strangers), remembered, couple).result[2])
    themselves, others = (CaseScores.from_json(line) for line in numbers["images"])
    assert (themselves.generated, themselves.found) == (6, 2)
    for index, row in enumerate(themselves.likeness_ref):
        assert row[index] > 0.6
        assert row[1 - index] < 0.4
    assert others.sim_ref < 0.4
    assert themselves.sim_ref - others.sim_ref > 0.4
    assert PickBest.execute(batch(strangers, image), couple, remembered, 1, "likeness").result[2] == "1"


def test_a_real_image_against_itself_copies_nothing(photo, couple, remembered):
    image = batch(np.asarray(photo))
    numbers = json.loads(IdentityMeter.execute(image, remembered, couple, truth=image).result[2])
    (score,) = (CaseScores.from_json(line) for line in numbers["images"])
    assert score.sim_gt == pytest.approx(1, abs=1e-5)
    assert score.copy_paste == pytest.approx(-1, abs=0.02)


def test_one_person_on_one_image():
    numbers = json.loads(
        IdentityMeter.execute(batch(GOOD), analysis(), placed(FACES[0].identity, boxes=(LEFT,))).result[2]
    )
    assert numbers["images"][0]["leakage"] is None
    assert numbers["summary"]["metrics"]["leakage"] is None
