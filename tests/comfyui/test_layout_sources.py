"""Layout from Image, Layout from Boxes and Preview Faces inside ComfyUI: their sockets, results and words."""

import numpy as np
import pytest
import torch
from PIL import Image
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.identities import IdentityFromPhotos
from withanyone_pack.nodes.layout import WithAnyonePlaceFace
from withanyone_pack.nodes.layout_sources import NODES, LayoutFromBoxes, LayoutFromImage, PreviewFaces
from withanyone_pack.tests.faces.small_pack import photo_with, write_pack
from withanyone_pack.withanyone_core.faces.analysis import load_face_analysis
from withanyone_pack.withanyone_core.identity import Identity

STRONG, FAINT = (240, 0, 0), (160, 0, 0)
GUIDE = {"width": 320, "height": 320, "order": "left to right", "max_people": 0, "fit": "crop to fill"}
PERSON = {"name": "Ann", "which_face": "best score", "face_index": 1, "combine": "first", "no_face": "error"}

# Saved workflows keep widget values by position: these orders, types, defaults and limits may grow only at the end.
SIDE = {"default": 1024, "min": 16, "max": 16384, "step": 16}
FREE_SIDE = {"default": 0, "min": 0, "max": 16384, "step": 16}
LAYOUT_OUTPUTS = [("WITHANYONE_LAYOUT", "layout"), ("INT", "width"), ("INT", "height"), ("INT", "people")]
SOCKETS = {
    "WithAnyoneLayoutFromImage": (
        [
            ("image", "IMAGE", {}),
            ("face_analysis", "WITHANYONE_FACE_ANALYSIS", {}),
            ("width", "INT", SIDE),
            ("height", "INT", SIDE),
            ("order", "COMBO", {"options": ["left to right", "largest first", "best score"]}),
            ("max_people", "INT", {"default": 0, "min": 0, "max": 99}),
            ("fit", "COMBO", {"options": ["crop to fill", "stretch"]}),
        ],
        LAYOUT_OUTPUTS,
    ),
    "WithAnyoneLayoutFromBoxes": (
        [
            ("boxes", "BOUNDING_BOX,BBOX,SEGS,STRING,BOUNDING_BOXES", {}),
            ("width", "INT", SIDE),
            ("height", "INT", SIDE),
            ("numbers", "COMBO", {"options": ["x, y, width, height", "x1, y1, x2, y2"]}),
        ],
        LAYOUT_OUTPUTS,
    ),
    "WithAnyonePreviewFaces": (
        [
            ("faces", "WITHANYONE_FACES", {}),
            ("width", "INT", FREE_SIDE),
            ("height", "INT", FREE_SIDE),
            ("image", "IMAGE", {}),
        ],
        [("IMAGE", "preview"), ("STRING", "text")],
    ),
}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_sockets_and_widgets_keep_their_order(node):
    schema = node.GET_SCHEMA()
    inputs, outputs = SOCKETS[schema.node_id]
    assert schema.category == "WithAnyone"
    assert [(entry.id, entry.get_io_type()) for entry in schema.inputs] == [(name, kind) for name, kind, _ in inputs]
    for entry, (_, _, settings) in zip(schema.inputs, inputs, strict=True):
        options = entry.as_dict()
        assert {key: options[key] for key in settings} == settings
        if "options" in settings:
            assert options["default"] == settings["options"][0]
    assert [(entry.get_io_type(), entry.display_name) for entry in schema.outputs] == outputs
    assert [entry.id for entry in schema.inputs if entry.optional] == (["image"] if node is PreviewFaces else [])


@pytest.fixture
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "temp"


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    return load_face_analysis(write_pack(tmp_path_factory.mktemp("pack") / "antelopev2"), det_size=160)


def batch(*photos):
    return torch.from_numpy(np.stack(photos)).to(torch.float32) / 255


def from_image(image, analysis, **changes):
    return LayoutFromImage.execute(image, analysis, **(GUIDE | changes))


def shown(output, temp):
    return np.asarray(Image.open(temp / output.ui["images"][0]["filename"]))


def test_the_faces_of_a_image_are_places(temp, analysis):
    photo = photo_with({(2, 3): FAINT, (12, 3): STRONG, (8, 12): (0, 200, 0)})
    output = from_image(batch(photo), analysis)
    layout, width, height, people = output.result
    assert (width, height, people) == (320, 320, 3)
    assert [box.to_px(320, 320) for box in layout.boxes] == [
        (16, 32, 80, 96),
        (96, 160, 224, 288),
        (176, 32, 240, 96),
    ]
    assert layout.embeddings.shape == (3, 512)
    assert layout.face_model == "antelopev2/glintr100.onnx"
    assert output.ui["text"] == ()
    image = shown(output, temp)
    assert image.shape == (1024, 1024, 3)
    assert image[660, 460, 1] > 150  # the green face lies under its box
    best_two = from_image(batch(photo), analysis, order="best score", max_people=2).result
    assert [box.x1 for box in best_two[0].boxes] == [pytest.approx(176 / 320), pytest.approx(96 / 320)]
    assert best_two[3] == 2


def test_faces_cut_off_are_reported(temp, analysis, caplog):
    photo = photo_with({(2, 3): FAINT, (10, 3): STRONG})
    output = from_image(batch(photo), analysis, width=160)
    words = "The face at 8, 16, 40, 48 of the guide image lies outside the canvas and is left out."
    assert output.ui["text"] == (words,)
    assert words in caplog.text
    assert output.result[3] == 1
    assert from_image(batch(photo), analysis, width=160, fit="stretch").result[3] == 2
    assert shown(output, temp).shape == (1024, 512, 3)


def test_everybody_finds_their_place_by_likeness(temp, analysis):
    group = photo_with({(2, 3): FAINT, (12, 3): STRONG, (8, 12): (0, 200, 0)})
    layout = from_image(batch(group), analysis).result[0]
    faces = ()
    for cells, name in (({(12, 3): STRONG}, "Ann"), ({(2, 3): FAINT}, "Ben"), ({(8, 12): (0, 200, 0)}, "Cleo")):
        photo = batch(photo_with(cells))
        identity = IdentityFromPhotos.execute(photo, analysis, **(PERSON | {"name": name})).result[0]
        faces = WithAnyonePlaceFace.execute(identity, 1.0, -1, layout=layout, faces=faces).result[0]
    assert [(face.identity.name, face.box_number) for face in faces] == [("Ann", 3), ("Ben", 1), ("Cleo", 2)]
    with pytest.raises(ValueError, match="No box is free for Cleo: all 3 of the layout are taken"):
        WithAnyonePlaceFace.execute(identity, 1.0, -1, layout=layout, faces=faces)


def test_best_match_needs_a_layout_with_faces(temp):
    layout = LayoutFromBoxes.execute("0,0,64,64", 128, 128, "x, y, width, height").result[0]
    ann = Identity("Ann", torch.ones(512), None, torch.zeros(512, 512, 3))
    with pytest.raises(
        ValueError, match=r"The best match was asked for Ann \(box -1\), but the layout's boxes have no"
    ):
        WithAnyonePlaceFace.execute(ann, 1.0, -1, layout=layout)


def test_a_image_without_a_face_is_refused_with_a_message(temp, analysis):
    words = r"No face was found in the guide image \(160 x 160 pixels\); the best candidate scored .*det_threshold"
    with pytest.raises(ValueError, match=words):
        from_image(batch(photo_with({})), analysis)
    with pytest.raises(ValueError, match=r"image: the IMAGE batch is empty"):
        from_image(torch.zeros(0, 8, 8, 3), analysis)


def test_of_a_batch_the_first_image_guides(temp, analysis, caplog):
    photos = batch(photo_with({(2, 3): STRONG}), photo_with({(12, 3): STRONG, (2, 3): STRONG}))
    assert from_image(photos, analysis).result[3] == 1
    assert "image: the first of 2 images is used." in caplog.text


@pytest.mark.parametrize(
    "boxes",
    [
        [[{"x": 0, "y": 0, "width": 64, "height": 64}, {"x": 64, "y": 32, "width": 64, "height": 96}]],
        [(0, 0, 64, 64), (64, 32, 64, 96)],
        "0,0,64,64; 64,32,128,128",
    ],
)
def test_boxes_of_other_nodes_are_places(temp, boxes):
    output = LayoutFromBoxes.execute(boxes, 130, 128, "x, y, width, height")
    layout, width, height, people = output.result
    assert (width, height, people) == (128, 128, 2)
    assert [box.to_px(128, 128) for box in layout.boxes] == [(0, 0, 64, 64), (64, 32, 128, 128)]
    assert layout.embeddings is None
    assert shown(output, temp).shape == (1024, 1024, 3)


def test_bad_boxes_are_refused_with_a_message(temp):
    with pytest.raises(ValueError, match="No box came in"):
        LayoutFromBoxes.execute([[]], 128, 128, "x, y, width, height")
    with pytest.raises(ValueError, match=r"Box 1 is 64, 0, 32, 32 in pixels .* it is inverted"):
        LayoutFromBoxes.execute([(64, 0, 32, 32)], 128, 128, "x1, y1, x2, y2")
    with pytest.raises(ValueError, match=r"Box 1 is .*all four must be finite"):
        LayoutFromBoxes.execute([(0, 0, float("nan"), 32)], 128, 128, "x1, y1, x2, y2")


def placed(width=256, height=128):
    layout = LayoutFromBoxes.execute("0,0,64,64; 48,0,128,64", width, height, "x, y, width, height").result[0]
    faces = ()
    for number, name in enumerate(("Ann", "Ben"), start=1):
        identity = Identity(name, torch.ones(512), None, torch.zeros(512, 512, 3))
        faces = WithAnyonePlaceFace.execute(identity, 1.0, number, layout=layout, faces=faces).result[0]
    return faces


def test_preview_shows_who_stands_where_and_says_it(temp):
    output = PreviewFaces.execute(placed(), 0, 0)
    preview, words = output.result
    assert preview.shape[2:] == (1024, 3)
    assert words.splitlines()[0] == "128 cells of 16 pixels on a 256x128 canvas"
    assert words.splitlines()[-1] == "1 Ann (25%) and 2 Ben (20%) share 4 cells"
    assert output.ui["text"] == (words,)
    assert np.array_equal(shown(output, temp), (preview[0] * 255).round().byte().numpy())


def test_preview_takes_its_canvas_from_the_widgets_the_layout_or_the_image(temp):
    def canvas(faces, width, height, image=None):
        return PreviewFaces.execute(faces, width, height, image).result[1].splitlines()[0].split(" on a ")[1]

    masked = WithAnyonePlaceFace.execute(placed()[0].identity, 1.0, 0, mask=torch.ones(1, 8, 8)).result[0]
    backdrop = torch.rand(1, 64, 96, 3)
    assert canvas(placed(), 512, 0) == "512x128 canvas"
    assert canvas(placed(), 0, 0, backdrop) == "256x128 canvas"
    assert canvas(masked, 0, 0, backdrop) == "96x64 canvas"
    assert canvas(masked, 0, 0) == "1024x1024 canvas"
    with pytest.raises(ValueError, match="The canvas is 0x0 pixels; expected at least 16x16"):
        canvas(masked, 0, 0, torch.rand(1, 8, 8, 3))
