"""The Layout, Place Face and Scheduler nodes inside ComfyUI: their sockets, results and words."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.nodes import layout, sampling
from withanyone_pack.nodes.layout import WithAnyoneLayout, WithAnyonePlaceFace
from withanyone_pack.nodes.sampling import WithAnyoneScheduler
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.regions.layout import Mask
from withanyone_pack.withanyone_core.regions.presets import preset_layout
from withanyone_pack.withanyone_core.schedule import released_sigmas
from withanyone_pack.withanyone_core.timing import ALWAYS, Window

# Saved workflows keep widget values by position: these orders, types, defaults and limits may grow only at the end.
SOCKETS = {
    WithAnyoneLayout: {
        "name": "WithAnyone Layout",
        "inputs": [
            ("width", "INT", {"default": 1024, "min": 16, "max": 16384, "step": 16}),
            ("height", "INT", {"default": 1024, "min": 16, "max": 16384, "step": 16}),
            ("people", "INT", {"default": 2, "min": 1, "max": 99}),
            ("preset_seed", "INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
            ("boxes", "STRING", {"default": "", "multiline": True}),
        ],
        "optional": [],
        "outputs": [("WITHANYONE_LAYOUT", "layout"), ("INT", "width"), ("INT", "height")],
    },
    WithAnyonePlaceFace: {
        "name": "Place Face",
        "inputs": [
            ("identity", "WITHANYONE_IDENTITY", {}),
            ("weight", "FLOAT", {"default": 1.0, "min": 0.0, "max": 3.0, "step": 0.05}),
            ("box", "INT", {"default": 0, "min": -1, "max": 99}),
            ("layout", "WITHANYONE_LAYOUT", {}),
            ("mask", "MASK", {}),
            ("faces", "WITHANYONE_FACES", {}),
            ("start_percent", "FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.001}),
            ("end_percent", "FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.001}),
        ],
        "optional": ["layout", "mask", "faces", "start_percent", "end_percent"],
        "outputs": [("WITHANYONE_FACES", "faces")],
    },
    WithAnyoneScheduler: {
        "name": "WithAnyone Scheduler",
        "inputs": [
            ("steps", "INT", {"default": 25, "min": 1, "max": 10000}),
            ("width", "INT", {"default": 1024, "min": 16, "max": 16384, "step": 16}),
            ("height", "INT", {"default": 1024, "min": 16, "max": 16384, "step": 16}),
            ("denoise", "FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            ("token_count", "COMBO", {"default": "as released", "options": ["as released", "true"]}),
        ],
        "optional": [],
        "outputs": [("SIGMAS", "sigmas")],
    },
}


@pytest.mark.parametrize("node", SOCKETS, ids=lambda node: node.__name__)
def test_sockets_and_widgets_keep_their_order(node):
    schema, expected = node.GET_SCHEMA(), SOCKETS[node]
    assert (schema.node_id, schema.display_name, schema.category) == (node.__name__, expected["name"], "WithAnyone")
    assert [(entry.id, entry.get_io_type()) for entry in schema.inputs] == [
        (name, io_type) for name, io_type, _ in expected["inputs"]
    ]
    for entry, (_, _, settings) in zip(schema.inputs, expected["inputs"], strict=True):
        options = entry.as_dict()
        assert options["tooltip"].strip()
        assert {
            key: options[key] for key in ("default", "min", "max", "step", "multiline", "options") if key in options
        } == (settings)
        assert "control_after_generate" not in options
    assert [entry.id for entry in schema.inputs if entry.optional] == expected["optional"]
    assert [(entry.get_io_type(), entry.display_name) for entry in schema.outputs] == expected["outputs"]
    shown = node.INPUT_TYPES()
    assert [*shown["required"], *shown.get("optional", {})] == [name for name, _, _ in expected["inputs"]]


def test_the_modules_hand_over_their_nodes():
    assert (*layout.NODES, *sampling.NODES) == tuple(SOCKETS)


@pytest.fixture
def temp_folder(tmp_path):
    import folder_paths

    before = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_temp_directory(before)


def make_layout(boxes: str = "", people: int = 2, width: int = 512, height: int = 384):
    return WithAnyoneLayout.execute(width=width, height=height, people=people, preset_seed=3, boxes=boxes)


def person(name: str) -> Identity:
    return Identity(name, torch.zeros(512), None, torch.zeros(512, 512, 3))


def test_layout_gives_a_preset_and_previews_itself(temp_folder):
    from PIL import Image

    made = make_layout()
    assert made.result == (preset_layout(2, 512, 384, 3), 512, 384)
    (saved,) = made.ui.as_dict()["images"]
    with Image.open(temp_folder / saved["subfolder"] / saved["filename"]) as image:
        assert image.size == (1024, 768)
    assert saved["type"] == "temp"
    assert WithAnyoneLayout.GET_SCHEMA().is_output_node


def test_written_boxes_replace_the_preset_and_the_number_of_people(temp_folder):
    made, width, height = make_layout("0,0,64,64\n100,0,164,64; 200,0,264,64", people=1).result
    assert [box.to_px(width, height) for box in made.boxes] == [(0, 0, 64, 64), (100, 0, 164, 64), (200, 0, 264, 64)]


def test_a_canvas_off_the_cells_is_floored_for_all_three_outputs(temp_folder):
    made, width, height = make_layout("0,0,64,64", width=520, height=391).result
    assert (made.width_px, made.height_px, width, height) == (512, 384, 512, 384)
    assert made.boxes[0].to_px(512, 384) == (0, 0, 64, 64)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ("0,0,64", "Line 1 of the boxes reads '0,0,64'"),
        ("600,0,700,64", "Box 1 is 600, 0, 700, 64 .* entirely outside"),
    ],
)
def test_bad_boxes_are_refused_with_a_message(boxes, words):
    with pytest.raises(ValueError, match=words):
        make_layout(boxes)


def test_a_chain_of_faces(temp_folder):
    places = make_layout("0,0,64,64\n100,0,164,64").result[0]
    (faces,) = WithAnyonePlaceFace.execute(identity=person("Ada"), weight=1.0, box=2, layout=places).result
    (faces,) = WithAnyonePlaceFace.execute(
        identity=person("Mia"), weight=0.5, box=0, mask=torch.ones(1, 24, 32), faces=faces
    ).result
    (faces,) = WithAnyonePlaceFace.execute(identity=person("Ben"), weight=2.0, box=0, layout=places, faces=faces).result
    assert isinstance(faces, tuple)
    assert [(face.identity.name, face.weight, face.box_number) for face in faces] == [
        ("Ada", 1.0, 2),
        ("Mia", 0.5, None),
        ("Ben", 2.0, 1),
    ]
    assert isinstance(faces[1].region, Mask)
    assert [face.window for face in faces] == [ALWAYS, ALWAYS, ALWAYS]
    late = {"start_percent": 0.25, "end_percent": 0.75}
    for place in ({"layout": places}, {"mask": torch.ones(1, 24, 32)}):
        (alone,) = WithAnyonePlaceFace.execute(identity=person("Eve"), weight=1.0, box=0, **place, **late).result
        assert alone[0].window == Window(0.25, 0.75)
    with pytest.raises(ValueError, match="No box is free for Cleo"):
        WithAnyonePlaceFace.execute(identity=person("Cleo"), weight=1.0, box=0, layout=places, faces=faces)


def test_a_face_needs_exactly_one_place(temp_folder):
    with pytest.raises(ValueError, match="Ada has no place: connect a layout or a mask"):
        WithAnyonePlaceFace.execute(identity=person("Ada"), weight=1.0, box=0)
    with pytest.raises(ValueError, match="Ada has both a layout and a mask; connect only one"):
        WithAnyonePlaceFace.execute(
            identity=person("Ada"), weight=1.0, box=0, layout=make_layout().result[0], mask=torch.ones(1, 8, 8)
        )


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="The mask is empty"):
        WithAnyonePlaceFace.execute(identity=person("Ada"), weight=1.0, box=0, mask=torch.zeros(1, 8, 8))


def test_scheduler_passes_every_widget_on():
    (sigmas,) = WithAnyoneScheduler.execute(steps=9, width=640, height=512, denoise=0.4, token_count="true").result
    assert torch.equal(sigmas, released_sigmas(9, 640, 512, 0.4, "true"))


@pytest.mark.parametrize(("steps", "denoise"), [(25, 1.0), (25, 0.35), (7, 0.99), (10, 0.0)])
def test_denoise_counts_like_comfyui_s_own_scheduler(steps, denoise):
    from comfy.model_sampling import ModelSamplingFlux
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    class Model:
        def get_model_object(self, name):
            return ModelSamplingFlux()

    (theirs,) = BasicScheduler.execute(Model(), "simple", steps, denoise).result
    (ours,) = WithAnyoneScheduler.execute(steps, 1024, 1024, denoise, "as released").result
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
