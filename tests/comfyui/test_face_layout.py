"""The Face Layout node and what it asks of the server, without a browser."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes import answers
from withanyone_pack.nodes.face_layout import SMALLEST_CELLS, FaceLayout
from withanyone_pack.nodes.identity_library import SaveIdentity
from withanyone_pack.nodes.layout import WithAnyonePlaceFace
from withanyone_pack.tests.identities.test_identity_file import person
from withanyone_pack.withanyone_core.canvas import CELL_PX
from withanyone_pack.withanyone_core.faces.alignment import TEMPLATE_PX
from withanyone_pack.withanyone_core.regions.drawn_boxes import boxes_from_json, boxes_to_json
from withanyone_pack.withanyone_core.regions.presets import preset_layout, row_layout

BOXES = "[[0.0, 0.0, 0.25, 0.5], [0.5, 0.1, 0.8, 0.7]]"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for kind in ("input", "output", "temp"):
        monkeypatch.setattr(folder_paths, f"{kind}_directory", str(tmp_path / kind))
    return tmp_path


def test_sockets_and_widgets_keep_their_order():
    """Saved workflows store widget values by position."""
    schema = FaceLayout.GET_SCHEMA()
    assert (schema.node_id, schema.display_name) == ("WithAnyoneFaceLayout", "Face Layout")
    assert [(entry.id, entry.get_io_type()) for entry in schema.inputs] == [
        ("width", "INT"),
        ("height", "INT"),
        ("boxes", "STRING"),
        ("backdrop", "IMAGE"),
    ]
    assert [entry.id for entry in schema.inputs if entry.optional] == ["backdrop"]
    assert [(entry.get_io_type(), entry.display_name) for entry in schema.outputs] == [
        ("WITHANYONE_LAYOUT", "layout"),
        ("INT", "width"),
        ("INT", "height"),
    ]
    boxes = schema.inputs[2].as_dict()
    assert boxes["widgetType"] == "WITHANYONE_BOXES"
    assert (boxes["cell_px"], boxes["smallest_cells"]) == (CELL_PX, SMALLEST_CELLS)


def test_a_new_node_has_two_boxes_side_by_side():
    default = FaceLayout.GET_SCHEMA().inputs[2].default
    assert boxes_from_json(default) == row_layout(2, 1024, 1024).boxes


def test_the_smallest_box_is_where_both_eyes_and_both_corners_of_the_mouth_have_a_cell_of_their_own():
    left_eye, right_eye, _, left_corner, right_corner = TEMPLATE_PX[:, 0] / 112
    apart = min(right_eye - left_eye, right_corner - left_corner)
    assert apart * SMALLEST_CELLS > 1
    assert (right_eye - left_eye) * (SMALLEST_CELLS - 1) < 1


def test_it_makes_the_layout_of_the_boxes():
    layout, width, height = FaceLayout.execute(520, 391, BOXES).result
    assert (width, height) == (layout.width_px, layout.height_px) == (512, 384)
    assert layout.boxes == boxes_from_json(BOXES)


def test_the_browser_gets_the_canvas_and_a_small_backdrop(folders):
    shown = FaceLayout.execute(512, 384, BOXES, torch.rand(1, 1500, 3000, 3)).ui
    assert shown["withanyone_canvas"] == [{"width": 512, "height": 384}]
    (backdrop,) = shown["withanyone_backdrop"]
    assert backdrop["image"]["type"] == "temp"
    assert Image.open(folders / "temp" / backdrop["image"]["filename"]).size == (1024, 512)
    assert "withanyone_backdrop" not in FaceLayout.execute(512, 384, BOXES).ui


def test_bad_boxes_are_refused_when_queued_and_when_run():
    assert FaceLayout.validate_inputs(BOXES) is True
    for text in ("[[0.1,", "[]", "[[5, 5, 6, 6]]"):
        words = FaceLayout.validate_inputs(text)
        with pytest.raises(ValueError, match=r"[Bb]ox") as raised:
            FaceLayout.execute(512, 384, text)
        assert str(raised.value) == words


def test_place_face_tells_the_browser_whom_it_put_where(folders):
    layout = FaceLayout.execute(512, 384, BOXES).result[0]
    ann = person("<b>Ann</b>")
    made = WithAnyonePlaceFace.execute(ann, 0.5, 0, layout)
    (placed,) = made.ui["withanyone_placed"]
    assert {key: placed[key] for key in ("name", "box", "weight")} == {"name": "<b>Ann</b>", "box": 1, "weight": 0.5}
    assert Image.open(folders / "temp" / placed["crop"]["filename"]).size == (128, 128)
    second = WithAnyonePlaceFace.execute(person("Ben"), 1.0, 0, layout, None, made.result[0])
    assert second.ui["withanyone_placed"][0]["box"] == 2
    json.dumps(second.ui)


def test_a_person_in_a_mask_is_none_of_the_canvass_business():
    assert WithAnyonePlaceFace.execute(person("Ann"), 1.0, 0, mask=torch.ones(1, 8, 8)).ui is None


def test_preset_places_are_those_of_the_layout_node():
    asked = {"people": "3", "width": "640", "height": "500"}
    for seed in range(4):
        expected = preset_layout(3, 640, 496, seed).boxes
        assert answers.places(asked | {"kind": "preset", "seed": str(seed)}) == [
            list(box.as_tuple()) for box in expected
        ]
    row = answers.places(asked | {"kind": "row"})
    assert boxes_from_json(json.dumps(row)) == row_layout(3, 640, 496).boxes
    assert boxes_to_json(row_layout(3, 640, 496).boxes) == json.dumps(row)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "circle"}, "The kind of places is 'circle'; expected one of preset, row"),
        ({"people": "0"}, "people is '0'; expected a whole number from 1 to 99"),
        ({"people": "two"}, "people is 'two'"),
        ({"people": "²"}, "people is '²'"),
        ({"people": "9" * 5000}, "people is '999"),
        ({"people": "40", "width": "512"}, "40 people in a row need a canvas at least 640 pixels wide"),
        ({"width": "8"}, "width is '8'"),
        ({"seed": "-1"}, "seed is '-1'"),
    ],
)
def test_questions_without_an_answer_are_refused_with_a_message(changes, words):
    asked = {"kind": "preset", "people": "2", "seed": "0", "width": "512", "height": "512"} | changes
    with pytest.raises(ValueError, match=words):
        answers.places(asked)


def test_saved_people_are_listed_with_their_crops():
    assert answers.saved_identities() == []
    ann = person("Ann")
    SaveIdentity.execute(ann, "ann")
    (saved,) = answers.saved_identities()
    assert saved["name"] == "ann_00001_.safetensors [output]"
    assert saved["changed"].isdigit()
    crop = np.asarray(Image.open(BytesIO(answers.crop_png(saved["name"]))))
    assert crop.shape == (128, 128, 3)
    assert abs(crop.mean() - (ann.crop * 255).mean().item()) < 1


@pytest.mark.parametrize("name", ["", "../ann.safetensors [output]", "/etc/passwd [input]", "ann", "gone.sft [input]"])
def test_no_image_leaves_the_folder_of_identities(name):
    with pytest.raises((ValueError, FileNotFoundError)):
        answers.crop_png(name)
