"""The files of the shipped workflows: their pictures, their models, and how their nodes lie."""

import re
from itertools import combinations

import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.small_graphs import NAMES, WORKFLOWS, shipped_workflow

LOADERS = {"UNETLoader", "DualCLIPLoader", "VAELoader", "WithAnyoneLoadAdapter", "WithAnyoneLoadSigLIP"}
THUMBNAIL_BYTES = 150_000
TITLE = 30


@pytest.fixture(params=NAMES)
def workflow(request):
    return shipped_workflow(request.param)


def rectangle(node):
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def test_all_are_there():
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", NAMES)
def test_the_thumbnail_is_light(name):
    path = WORKFLOWS / f"{name}.jpg"
    assert path.stat().st_size < THUMBNAIL_BYTES
    with Image.open(path) as picture:
        assert picture.format == "JPEG"


def test_every_model_says_where_it_comes_from_and_goes(workflow):
    for node in workflow["nodes"]:
        files = {model["name"] for model in node["properties"].get("models", ())}
        if node["type"] in LOADERS:
            assert files == {value for value in node["widgets_values"] if str(value).endswith(".safetensors")}
        for model in node["properties"].get("models", ()):
            assert model.keys() == {"name", "url", "directory"}
            assert re.fullmatch(r"https://huggingface\.co/[\w./-]+/resolve/main/[\w./-]+\.safetensors", model["url"])


def test_nodes_of_the_pack_name_it(workflow):
    ours = [node["properties"] for node in workflow["nodes"] if node["type"].startswith("WithAnyone")]
    assert {(node.get("cnr_id"), bool(node.get("ver"))) for node in ours} == {("withanyone", True)}


def test_no_node_covers_another(workflow):
    for one, other in combinations(workflow["nodes"], 2):
        a, b = rectangle(one), rectangle(other)
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one["title"], other["title"])


def test_every_node_lies_in_one_group(workflow):
    boxes = [group["bounding"] for group in workflow["groups"]]
    for node in workflow["nodes"]:
        x1, y1, x2, y2 = rectangle(node)
        assert sum(x <= x1 and y <= y1 and x2 <= x + w and y2 <= y + h for x, y, w, h in boxes) == 1, node["title"]


def test_there_is_one_note(workflow):
    assert [node["title"] for node in workflow["nodes"] if "Note" in node["type"]] == ["Read me"]


def test_nothing_changes_by_itself_between_runs(workflow):
    assert not [node["title"] for node in workflow["nodes"] if "randomize" in node.get("widgets_values", ())]
