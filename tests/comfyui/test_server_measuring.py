"""The meter in a real ComfyUI server: on a photograph of known people, and on a sweep that was sampled."""

import json

import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.photos import GROUP
from withanyone_pack.tests.comfyui.photos import pictures as picture_folder
from withanyone_pack.tests.comfyui.server import ComfyServer, PromptError
from withanyone_pack.tests.comfyui.small_graphs import id_of, small_graph

pytestmark = pytest.mark.server

PHOTO = {"which_face": "best score", "face_index": 1, "combine": "first", "no_face": "error"}
GUIDE = {"width": 640, "height": 448, "order": "left to right", "max_people": 0, "fit": "stretch"}
GROUP_PX = 640, 443  # half the photograph: a quarter of the time for each detection
SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        photo = Image.open(picture_folder() / GROUP).convert("RGB")
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
    told = json.loads(text(run, "numbers"))
    mirrored, itself = told["pictures"]
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


def sweep():
    """The shipped graph, sampled with five resemblances from one noise."""
    graph = small_graph()
    apply, guider, sample, decode = (
        id_of(graph, kind) for kind in ("WithAnyoneApply", "BasicGuider", "SamplerCustomAdvanced", "VAEDecode")
    )
    before = None
    for step, resemblance in enumerate(SWEEP):
        names = {name: f"{name}_{step}" for name in (apply, guider, sample, decode)}
        for name, copied in names.items():
            inputs = {
                key: [names.get(value[0], value[0]), value[1]] if isinstance(value, list) else value
                for key, value in graph[name]["inputs"].items()
            }
            graph[copied] = {"class_type": graph[name]["class_type"], "inputs": inputs}
        graph[names[apply]]["inputs"]["resemblance"] = resemblance
        picture = [names[decode], 0]
        if before is not None:
            graph[f"batch_{step}"] = node("ImageBatch", image1=before, image2=picture)
            picture = [f"batch_{step}", 0]
        before = picture
    faces = graph[apply]["inputs"]["faces"]
    judge = [id_of(graph, "StandinFaceAnalysis"), 0]
    graph["meter"] = node("WithAnyoneIdentityMeter", images=before, faces=faces, face_analysis=judge)
    graph["numbers"] = node("PreviewAny", source=["meter", 2])
    save = id_of(graph, "SaveImage")
    graph[save]["inputs"]["images"] = before
    return graph, save


def test_a_sweep_of_the_resemblance_is_measured(server):
    graph, save = sweep()
    history = server.run(graph)
    told = json.loads(text(history, "numbers"))
    assert [line["name"] for line in told["pictures"]] == [f"picture {number}" for number in range(1, 6)]
    assert told["summary"]["expected_faces"] == 10
    pictures = [Image.open(path).tobytes() for path in server.images(history, save)]
    assert len(set(pictures)) == len(SWEEP)


def test_what_is_wrong_is_told_in_the_users_words(server):
    graph = known_people() | {
        "meter": node(
            "WithAnyoneIdentityMeter", images=["group", 0], second_photos=["both", 0], truth=["group", 0], **WHO
        )
    }
    with pytest.raises(PromptError, match="Both truth and second_photos are connected"):
        server.run(graph)
