"""The shipped workflow in a real browser."""

import json

import pytest
from withanyone_pack.tests.comfyui.browser import frontend, require_chromium
from withanyone_pack.tests.comfyui.exchange import with_standins, workflow_with_standins
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import ROOT, shipped_graph

pytestmark = pytest.mark.browser

WORKFLOW = ROOT / "example_workflows/two_people.json"


@pytest.fixture(scope="module")
def workflow():
    return json.loads(WORKFLOW.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page():
    require_chromium()
    with ComfyServer() as server, frontend(server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def opened(page, workflow):
    page.errors()
    page.load(workflow)
    return page


def test_no_node_is_missing(opened, workflow):
    assert opened.missing_node_types() == []
    assert opened.call("return app.rootGraph.nodes.length") == len(workflow["nodes"])


def test_it_queues_the_graph_that_the_server_test_runs(opened):
    assert opened.api_graph() == shipped_graph()


def test_the_page_has_no_errors(opened):

    assert opened.errors() == []


def test_the_demos_own_workflow_opens_too(page, workflow):
    page.load(workflow_with_standins(workflow))
    assert page.missing_node_types() == []
    shown = page.api_graph()
    expected = with_standins(shipped_graph())
    assert {name: (node["class_type"], node["inputs"]) for name, node in shown.items()} == {
        name: (node["class_type"], node["inputs"]) for name, node in expected.items()
    }


def test_it_is_among_the_templates(opened):
    templates = opened.call("return await (await fetch('/api/workflow_templates')).json()")
    assert "two_people" in templates["withanyone"]
    thumbnail = "/api/workflow_templates/withanyone/two_people.jpg"
    assert opened.call("return (await fetch(args[0])).headers.get('content-type')", thumbnail) == "image/jpeg"


def test_every_model_says_where_it_comes_from_and_goes(workflow):
    loaders = {node["type"]: node["properties"].get("models", []) for node in workflow["nodes"]}
    for loader in ("UNETLoader", "DualCLIPLoader", "VAELoader", "WithAnyoneLoadAdapter", "WithAnyoneLoadSigLIP"):
        assert loaders[loader], loader
        for model in loaders[loader]:
            assert model.keys() == {"name", "url", "directory"}
            assert model["name"] in next(node["widgets_values"] for node in workflow["nodes"] if node["type"] == loader)
