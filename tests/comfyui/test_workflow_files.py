"""The files of the shipped workflows: their images, their models, and how their nodes lie."""

import json
import re
from itertools import combinations

import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.small_graphs import NAMES, WORKFLOWS, shipped_graph, shipped_workflow
from withanyone_pack.tests.comfyui.workflows.subgraphs import ANY_IMAGE, SUBGRAPHS
from withanyone_pack.tests.pack import ROOT

LOADERS = {"UNETLoader", "DualCLIPLoader", "VAELoader", "WithAnyoneLoadAdapter", "WithAnyoneLoadSigLIP"}
THUMBNAIL_BYTES = 150_000
BLUEPRINTS = ROOT / "subgraphs"
TITLE = 30
MODEL_URL = re.compile(r"https://huggingface\.co/[\w./-]+/resolve/main/[\w./-]+\.safetensors")


def definitions():
    """All subgraphs by name, of the workflows that have any."""
    found = {}
    for name in NAMES:
        parts = shipped_workflow(name).get("definitions", {}).get("subgraphs", ())
        assert not found.keys() & {one["name"] for one in parts}
        found |= {one["name"]: one for one in parts}
    return found


def rectangle(node):
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def all_nodes(workflow):
    """With those in subgraphs."""
    inner = [node for one in workflow.get("definitions", {}).get("subgraphs", ()) for node in one["nodes"]]
    subgraphs = {one["id"] for one in workflow.get("definitions", {}).get("subgraphs", ())}
    return [node for node in [*workflow["nodes"], *inner] if node["type"] not in subgraphs]


def test_all_are_there():
    assert len(NAMES) == 14


def test_thumbnails_are_light():
    paths = [WORKFLOWS / f"{name}.jpg" for name in NAMES]
    assert [path.name for path in paths if path.stat().st_size >= THUMBNAIL_BYTES or kind(path) != "JPEG"] == []


def kind(path):
    with Image.open(path) as image:
        return image.format


def offenders(is_wrong):
    """(workflow, title) of every node in them, subgraphs included, that is wrong."""
    return [
        (name, node.get("title", node["type"]))
        for name in NAMES
        for node in all_nodes(shipped_workflow(name))
        if is_wrong(node)
    ]


def test_every_model_says_where_it_comes_from_and_goes():
    def is_wrong(node):
        models = node["properties"].get("models", ())
        loaded = {value for value in node.get("widgets_values") or () if str(value).endswith(".safetensors")}
        is_incomplete = node["type"] in LOADERS and {model["name"] for model in models} != loaded
        return is_incomplete or any(
            model.keys() != {"name", "url", "directory"} or not MODEL_URL.fullmatch(model["url"]) for model in models
        )

    assert offenders(is_wrong) == []


def test_nodes_of_the_pack_name_it():
    def is_nameless(node):
        about = node["properties"]
        return node["type"].startswith("WithAnyone") and not (about.get("cnr_id") == "withanyone" and about.get("ver"))

    assert offenders(is_nameless) == []
    for name in NAMES:
        assert any(node["type"].startswith("WithAnyone") for node in all_nodes(shipped_workflow(name))), name


def test_no_node_covers_another():
    assert [
        (name, one["title"], other["title"])
        for name in NAMES
        for one, other in combinations(shipped_workflow(name)["nodes"], 2)
        if covers(rectangle(one), rectangle(other))
    ] == []


def covers(a, b):
    return not (a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1])


def test_every_node_lies_in_one_group():
    lost = []
    for name in NAMES:
        workflow = shipped_workflow(name)
        boxes = [group["bounding"] for group in workflow["groups"]]
        for node in workflow["nodes"]:
            x1, y1, x2, y2 = rectangle(node)
            if sum(x <= x1 and y <= y1 and x2 <= x + w and y2 <= y + h for x, y, w, h in boxes) != 1:
                lost.append((name, node["title"]))
    assert lost == []


def test_there_is_one_note():
    notes = {
        name: [node["title"] for node in shipped_workflow(name)["nodes"] if "Note" in node["type"]] for name in NAMES
    }
    assert {name: titles for name, titles in notes.items() if titles != ["Read me"]} == {}


def test_nothing_changes_by_itself_between_runs():
    assert offenders(lambda node: "randomize" in (node.get("widgets_values") or ())) == []


# What opens short


def by_title(graph):
    """A graph by the titles of its nodes, which subgraphs do not change."""
    titles = {key: node["_meta"]["title"] for key, node in graph.items()}

    def titled(value):
        return [titles[value[0]], value[1]] if isinstance(value, list) else value

    return {
        titles[key]: (node["class_type"], {name: titled(value) for name, value in node["inputs"].items()})
        for key, node in graph.items()
    }


def test_the_two_person_workflow_opens_with_a_dozen_nodes_and_queues_what_the_long_one_does():
    short, long = shipped_workflow("two_people"), shipped_workflow("two_people_long")
    assert len(short["nodes"]) <= 12
    assert len(long["nodes"]) == 28
    assert by_title(shipped_graph("two_people")) == by_title(shipped_graph("two_people_long"))


def test_every_subgraph_is_a_blueprint_of_its_own():
    folds = {fold.title for fold in (*SUBGRAPHS, ANY_IMAGE)}
    assert {path.stem for path in BLUEPRINTS.glob("*")} == definitions().keys() == folds
    for name, definition in definitions().items():
        content = json.loads((BLUEPRINTS / f"{name}.json").read_text(encoding="utf-8"))
        assert content["definitions"]["subgraphs"] == [definition]
        (node,) = content["nodes"]
        assert node["type"] == definition["id"]
        assert [socket["name"] for socket in node["inputs"]] == [end["name"] for end in definition["inputs"]]
        assert not [socket for socket in node["inputs"] if socket["link"] is not None]


def test_a_link_in_a_subgraph_is_known_at_both_of_its_ends():
    for definition in definitions().values():
        nodes = {node["id"]: node for node in definition["nodes"]}
        for link in definition["links"]:
            start, end = link["origin_id"], link["target_id"]
            source = nodes[start]["outputs"] if start in nodes else definition["inputs"]
            target = nodes[end]["inputs"] if end in nodes else definition["outputs"]
            assert link["id"] in source[link["origin_slot"]]["links" if start in nodes else "linkIds"]
            inner = target[link["target_slot"]]
            assert link["id"] == inner["link"] if end in nodes else link["id"] in inner["linkIds"]


@pytest.mark.parametrize("name", ["two_people", "two_people_long"])
def test_app_mode_shows_photos_prompt_resemblance_and_image(name):
    workflow = shipped_workflow(name)
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    app = workflow["extra"]["linearData"]
    assert [widget for _, widget in app["inputs"]] == ["image", "image", "text", "resemblance", "noise_seed"]
    for node, widget in app["inputs"]:
        assert widget in [socket["name"] for socket in nodes[node]["inputs"] if "widget" in socket]
    assert [nodes[node]["type"] for node in app["outputs"]] == ["SaveImage"]
