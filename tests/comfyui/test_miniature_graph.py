"""The miniature's workflow is the long two-person workflow: only loaders differ, and widgets of sizes and words."""

import pytest
from withanyone_pack.tests.comfyui.small_graphs import shipped_graph, shipped_workflow
from withanyone_pack.tests.comfyui.workflows.notes import PROMPTS

LOADERS = {
    "UNETLoader": "WithAnyoneMiniatureFlux",
    "DualCLIPLoader": "WithAnyoneMiniatureCLIP",
    "VAELoader": "WithAnyoneMiniatureVAE",
    "WithAnyoneLoadAdapter": "WithAnyoneMiniatureAdapter",
    "WithAnyoneLoadFaceAnalysis": "WithAnyoneMiniatureFaceAnalysis",
    "WithAnyoneLoadSigLIP": "WithAnyoneMiniatureSigLIP",
    "LoadImage": "WithAnyoneMiniaturePhotos",
}
# (kind of node, widget): its value for FLUX.1, and for the miniature
WIDGETS = {
    # the base model was trained at one size, with prompts of this length
    ("WithAnyoneLayout", "width"): (1024, 176),
    ("WithAnyoneLayout", "height"): (1024, 176),
    ("T5TokenizerOptions", "min_length"): (512, 24),
    # it knows the few dozen words of its world
    ("CLIPTextEncode", "text"): (PROMPTS["two_people"], PROMPTS["miniature"]),
    # and is quick enough for several
    ("EmptySD3LatentImage", "batch_size"): (1, 4),
}


@pytest.fixture(scope="module")
def graphs():
    return shipped_graph("two_people_long"), shipped_graph("miniature")


def test_every_node_is_the_same_but_for_the_loaders(graphs):
    real, miniature = graphs
    assert [*real] == [*miniature]
    kinds = [(real[node]["class_type"], miniature[node]["class_type"]) for node in real]
    assert {kind: other for kind, other in kinds if kind != other} == LOADERS
    assert not {kind for kind, other in kinds if kind == other} & LOADERS.keys()


def test_only_sizes_and_words_are_set_otherwise(graphs):
    real, miniature = graphs
    found = {}
    for node, taken in real.items():
        kind, other = taken["inputs"], miniature[node]["inputs"]
        if taken["class_type"] not in LOADERS:
            assert [*kind] == [*other]
            different = {name for name in kind if kind[name] != other[name]}
            found |= {(taken["class_type"], name): (kind[name], other[name]) for name in different}
    assert found == WIDGETS


def test_loaders_are_joined_to_the_same_inputs(graphs):
    links = [
        {(node, name): value for node in graph for name, value in graph[node]["inputs"].items() if is_link(value)}
        for graph in graphs
    ]
    assert links[0] == links[1]
    assert not [node for graph in graphs for node in graph if is_loader(graph[node]) and any_link(graph[node])]


def test_both_look_alike_in_the_browser():
    real, miniature = (shipped_workflow(name) for name in ("two_people_long", "miniature"))
    assert ends(real) == ends(miniature)
    assert [node["id"] for node in real["nodes"]] == [node["id"] for node in miniature["nodes"]]
    assert [group["title"] for group in real["groups"]] == [group["title"] for group in miniature["groups"]]
    assert columns(real) == columns(miniature)


def is_link(value):
    return isinstance(value, list)


def is_loader(node):
    return node["class_type"] in {*LOADERS, *LOADERS.values()}


def any_link(node):
    return any(is_link(value) for value in node["inputs"].values())


def ends(workflow):
    """Where each link starts, and the name of the input where it ends."""
    names = {node["id"]: [entry["name"] for entry in node["inputs"]] for node in workflow["nodes"]}
    return {(start, output, end, names[end][place]) for _, start, output, end, place, _ in workflow["links"]}


def columns(workflow):
    return {node["id"]: node["pos"][0] for node in workflow["nodes"]}
