"""Every shipped workflow in a real ComfyUI server, as it is but for its largest loaders."""

import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.exchange import STANDINS, with_standins
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import NAMES, id_of, pixels, shipped_graph, unmuted_graph, upstream_of

pytestmark = pytest.mark.server

SAVED, MEASURING = "saved_identities", "measure_any_image"
# What NaN, a LoRA for another model, or a graph only half understood leave in the log.
TROUBLE = ("invalid value encountered in cast", "lora key not loaded", "Failed to validate prompt")
# Width and height; 1024 x 1024 unless named. The image to edit is brought to one megapixel, and is square.
SIZES = {
    "portrait": (832, 1216),
    "four_people": (1216, 832),
    "face_layout": (1216, 832),
    "refine": (1152, 1152),
    "resemblance_sweep": (512, 512),
    "until_alike": (768, 768),
    "miniature": (176, 176),
}
PLACED = {
    "face_layout": [f"{number} person {number}: box {number}" for number in (1, 2, 3)],
    "four_people": [f"{number} person {number}: box {number}" for number in (1, 2, 3, 4)],
    "kontext_edit": ["1 person 1: box 1", "2 person 2: box 2"],
    "masks": ["1 person 1: mask, 374 cells", "2 person 2: mask, 374 cells"],
}


def making_people():
    """What SAVED ships muted: it writes the files that the rest loads."""
    return upstream_of(unmuted_graph(SAVED), "WithAnyoneSaveIdentity")


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        running.run(with_standins(making_people()))
        yield running


@pytest.fixture(scope="module")
def run(server):
    """The graph and the history of a workflow, which is queued once."""
    finished = {}

    def run_once(name):
        if name not in finished:
            graph = with_standins(shipped_graph(name))
            for node in graph.values():
                # two_people and two_people_long are one graph: what is kept of the first would be all of the second
                if node["class_type"] == "RandomNoise":
                    node["inputs"]["noise_seed"] += len(finished)
            finished[name] = graph, server.run(graph)
        return finished[name]

    return run_once


def test_what_is_muted_makes_the_people_that_the_rest_loads():
    assert unmuted_graph(SAVED) == shipped_graph(SAVED) | making_people()
    assert not shipped_graph(SAVED).keys() & making_people().keys()


@pytest.mark.parametrize("name", NAMES)
def test_only_loaders_are_exchanged(name):
    shipped, exchanged = shipped_graph(name), with_standins(shipped_graph(name))
    assert shipped.keys() == exchanged.keys()
    different = {node for node in shipped if shipped[node] != exchanged[node]}
    assert different == {node for node in shipped if shipped[node]["class_type"] in STANDINS}


@pytest.mark.parametrize("name", [name for name in NAMES if name != MEASURING])
def test_it_makes_a_image(server, run, name):
    graph, history = run(name)
    width, height = SIZES.get(name, (1024, 1024))
    image = pixels(server.images(history, id_of(graph, "SaveImage"))[0])
    assert image.shape == (height, width, 3)
    assert image.std() > 5
    assert [trouble for trouble in TROUBLE if trouble in server.log()] == []


@pytest.mark.parametrize("name", PLACED)
def test_people_stand_where_they_were_put(run, name):
    graph, history = run(name)
    words = history["outputs"][id_of(graph, "WithAnyonePreviewFaces")]["text"][0].splitlines()
    assert [line[: len(start)] for line, start in zip(words[1:], PLACED[name], strict=False)] == PLACED[name]
    assert words[-1] == "Nobody overlaps."


def test_no_face_of_the_image_to_edit_stays_sharp(run):
    graph, history = run("kontext_edit")
    assert "text" not in history["outputs"][id_of(graph, "WithAnyonePrepareFaceEdit")]


def test_any_image_is_measured_as_the_workflow_ships(server):
    """With dlib, which comes from pip: two people of the group photograph, who are there among six."""
    graph = shipped_graph(MEASURING)
    history = server.run(graph)
    (shown,) = (
        history["outputs"][node]["text"][0] for node, each in graph.items() if each["class_type"] == "PreviewAny"
    )
    lines = shown.splitlines()
    assert lines[:2] == ["image 1, 1 person 1: kept", "image 1, 2 person 2: kept"]
    assert len(lines) == 6
    assert all(line.startswith("image 1, nobody expected: extra person") for line in lines[2:])
    table = Image.open(server.images(history, id_of(graph, "SaveImage"))[0])
    assert min(table.size) > 100
    assert len(server.images(history, id_of(graph, "WithAnyoneIdentityMeter"))) == 2
