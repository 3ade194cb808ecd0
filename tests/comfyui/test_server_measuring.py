"""The meter in a real ComfyUI server: on a photograph of known people, and on a sweep that was sampled."""

import json

import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.exchange import with_standins
from withanyone_pack.tests.comfyui.photos import GROUP
from withanyone_pack.tests.comfyui.photos import images as image_folder
from withanyone_pack.tests.comfyui.server import ComfyServer, PromptError
from withanyone_pack.tests.comfyui.small_graphs import id_of, node_of, shipped_graph

pytestmark = pytest.mark.server

PHOTO = {"which_face": "best score", "face_index": 1, "combine": "first", "no_face": "error"}
GUIDE = {"width": 640, "height": 448, "order": "left to right", "max_people": 0, "fit": "stretch"}
GROUP_PX = 640, 443  # half the photograph: a quarter of the time for each detection


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        photo = Image.open(image_folder() / GROUP).convert("RGB")
        photo.resize(GROUP_PX, Image.Resampling.LANCZOS).save(running.base / "input/group.jpg", quality=95)
        yield running


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def known_people():
    """The group photograph and its mirror image, and two of its people where the photograph has them."""
    graph = {
        "faces": node("StandinFaceAnalysis"),
        "group": node("LoadImage", image="group.jpg"),
        "mirrored": node("ImageFlip", image=["group", 0], flip_method="y-axis: horizontally"),
        "both": node("ImageBatch", image1=["mirrored", 0], image2=["group", 0]),
        "layout": node("WithAnyoneLayoutFromImage", image=["group", 0], face_analysis=["faces", 0], **GUIDE),
    }
    for number in (1, 2):
        graph[f"photo_{number}"] = node("LoadImage", image=f"person_{number}.jpg")
        graph[f"person_{number}"] = node(
            "WithAnyoneIdentityFromPhotos",
            photos=[f"photo_{number}", 0],
            face_analysis=["faces", 0],
            name=f"Person {number}",
            **PHOTO,
        )
        graph[f"place_{number}"] = node(
            "WithAnyonePlaceFace", identity=[f"person_{number}", 0], weight=1.0, box=-1, layout=["layout", 0]
        )
    graph["place_2"]["inputs"]["faces"] = ["place_1", 0]
    return graph


WHO = {"faces": ["place_2", 0], "face_analysis": ["faces", 0]}


@pytest.fixture(scope="module")
def run(server):
    graph = known_people() | {
        "meter": node("WithAnyoneIdentityMeter", images=["both", 0], **WHO),
        "numbers": node("PreviewAny", source=["meter", 2]),
        "best": node("WithAnyonePickBest", images=["both", 0], keep=1, score="likeness", **WHO),
        "indices": node("PreviewAny", source=["best", 2]),
        "kept": node("SaveImage", images=["best", 0], filename_prefix="kept"),
        "compare": node(
            "WithAnyoneCompare",
            images_a=["mirrored", 0],
            images_b=["group", 0],
            name_a="mirrored",
            name_b="as it is",
            bootstrap_seed=0,
            **WHO,
        ),
    }
    return server.run(graph)


def text(history, name):
    return history["outputs"][name]["text"][0]


def test_people_of_a_photograph_are_measured(server, run):
    numbers = json.loads(text(run, "numbers"))
    mirrored, itself = numbers["images"]
    assert itself["means"]["sim_ref"] > 0.8
    assert itself["means"]["leakage"] < 0.4
    assert mirrored["means"]["sim_ref"] < 0.4
    table, plot = (Image.open(path) for path in server.images(run, "meter"))
    assert table.size != plot.size
    assert min(*table.size, *plot.size) > 300


def test_the_best_is_picked_and_two_are_compared(server, run):
    assert text(run, "indices") == "1"
    assert Image.open(server.images(run, "kept")[0]).size == GROUP_PX
    assert Image.open(server.images(run, "compare")[0]).width == 1024


def test_a_sweep_of_the_resemblance_is_measured(server):
    """The shipped workflow on a small canvas. The stand-in for FLUX.1 draws nobody: everybody is lost, and said so."""
    graph = with_standins(shipped_graph("resemblance_sweep"))
    node_of(graph, "WithAnyoneLayout").update(width=256, height=256)
    node_of(graph, "WithAnyoneScheduler").update(steps=3)
    meter = id_of(graph, "WithAnyoneIdentityMeter")
    graph["numbers"] = node("PreviewAny", source=[meter, 2])
    history = server.run(graph)
    numbers = json.loads(text(history, "numbers"))
    assert [line["name"] for line in numbers["images"]] == [f"image {number}" for number in range(1, 6)]
    assert numbers["compared_with"] == "truth"
    assert numbers["summary"]["expected_faces"] == 5
    assert len(server.images(history, meter)) == 2
    images = [Image.open(path).tobytes() for path in server.images(history, id_of(graph, "SaveImage"))]
    assert len(set(images)) == len(images) == 5


def test_any_image_is_measured_without_a_layout(server):
    """Two people of the photograph, by their identities alone."""
    graph = {name: each for name, each in known_people().items() if name.startswith(("faces", "group", "p"))}
    graph = {name: each for name, each in graph.items() if not name.startswith("place")}
    people = {"identity": ["person_1", 0], "identity_2": ["person_2", 0]}
    graph["meter"] = node("WithAnyoneIdentityMeter", images=["group", 0], face_analysis=["faces", 0], **people)
    graph |= {name: node("PreviewAny", source=["meter", output]) for name, output in (("numbers", 2), ("verdict", 3))}
    history = server.run(graph)
    numbers = json.loads(text(history, "numbers"))
    assert numbers["images"][0]["method"] == "references"
    assert numbers["people"] == ["1 Person 1", "2 Person 2"]
    assert [row[index] > 0.6 for index, row in enumerate(numbers["images"][0]["likeness_ref"])] == [True, True]
    lines = text(history, "verdict").splitlines()
    assert len(lines) == 6  # the two, and four people who were not expected
    assert sum("extra person" in line for line in lines) == 4
    assert not [line for line in lines if "lost" in line or "drifted" in line]


def test_what_is_wrong_is_said_in_the_users_words(server):
    graph = known_people() | {
        "meter": node(
            "WithAnyoneIdentityMeter", images=["group", 0], second_photos=["both", 0], truth=["group", 0], **WHO
        )
    }
    with pytest.raises(PromptError, match="Both truth and second_photos are connected"):
        server.run(graph)
