"""People kept in files and placed by a guide image, in a real ComfyUI server."""

import shutil

import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.photos import GROUP
from withanyone_pack.tests.comfyui.photos import images as image_folder
from withanyone_pack.tests.comfyui.server import ComfyServer, PromptError

pytestmark = pytest.mark.server

PHOTO = {"which_face": "best score", "face_index": 1, "combine": "first", "no_face": "error"}
GUIDE = {"width": 640, "height": 448, "order": "left to right", "max_people": 0, "fit": "crop to fill"}


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        shutil.copy(image_folder() / GROUP, running.base / "input/group.jpg")
        yield running


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def photo_graph():
    """Both people from their photos, each into the box of the group image whose face is most like them."""
    graph = {
        "faces": node("StandinFaceAnalysis"),
        "group": node("LoadImage", image="group.jpg"),
        "layout": node("WithAnyoneLayoutFromImage", image=["group", 0], face_analysis=["faces", 0], **GUIDE),
        "preview": node("WithAnyonePreviewFaces", faces=["place_2", 0], width=0, height=0, image=["group", 0]),
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
        graph[f"save_{number}"] = node(
            "WithAnyoneSaveIdentity", identity=[f"person_{number}", 0], filename_prefix="%name%"
        )
    graph["place_2"]["inputs"]["faces"] = ["place_1", 0]
    return graph


def file_graph(first, second, **merge):
    """The person between two saved ones, in the second of two written boxes."""
    return {
        "layout": node(
            "WithAnyoneLayoutFromBoxes",
            boxes=["text", 0],
            width=256,
            height=256,
            numbers="x, y, width, height",
        ),
        "text": node("PrimitiveStringMultiline", value="0,0,64,64\n128,0,192,64"),
        "load_1": node("WithAnyoneLoadIdentity", identity_file=first),
        "load_2": node("WithAnyoneLoadIdentity", identity_file=second),
        "merge": node("WithAnyoneMergeIdentities", identity_a=["load_1", 0], identity_b=["load_2", 0], **merge),
        "place": node("WithAnyonePlaceFace", identity=["merge", 0], weight=1.0, box=2, layout=["layout", 0]),
        "preview": node("WithAnyonePreviewFaces", faces=["place", 0], width=0, height=0),
    }


@pytest.fixture(scope="module")
def first_run(server):
    return server.run(photo_graph())


def test_people_find_themselves_in_a_group_image(server, first_run):
    """Of the six at the table the first photo shows the fifth from the left, the second the third."""
    words = first_run["outputs"]["preview"]["text"][0].splitlines()
    assert words[0] == "1120 cells of 16 pixels on a 640x448 canvas"
    assert [line.split(",")[0] for line in words[1:3]] == ["1 Person 1: box 5", "2 Person 2: box 3"]
    assert words[3] == "Nobody overlaps."
    assert Image.open(server.images(first_run, "layout")[0]).size == (1024, 717)


def test_saved_people_are_offered_loaded_and_merged(server, first_run):
    offered = server.object_info()["WithAnyoneLoadIdentity"]["input"]["required"]["identity_file"][1]["options"]
    assert offered == ["Person 1_00001_.safetensors [output]", "Person 2_00001_.safetensors [output]"]
    outputs = server.run(file_graph(*offered, weight=0.5, name="Both"))["outputs"]
    assert outputs["load_1"]["text"] == ["Person 1, 1 photo, face by best score, combined by first"]
    assert outputs["preview"]["text"][0].splitlines()[1] == "1 Both: box 2, 16 cells"


@pytest.mark.parametrize("name", ["../x.safetensors [output]", "/etc/passwd [input]"])
def test_names_that_leave_the_folder_are_refused_when_queued(server, name):
    with pytest.raises(PromptError, match="leaves the folder identities or names no file"):
        server.run(file_graph(name, name, weight=0.5, name="Both"))
