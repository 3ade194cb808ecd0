"""The shipped workflows in a real browser, all in one page."""

import json

import pytest
from selenium.webdriver.support.ui import WebDriverWait
from withanyone_pack.tests.comfyui.browser import READY_SECONDS, Page, frontend, require_chromium
from withanyone_pack.tests.comfyui.demo import WORKFLOW, page_of
from withanyone_pack.tests.comfyui.queued import completed
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import NAMES, shipped_graph, shipped_workflow, unmuted_graph
from withanyone_pack.tests.pack import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server():
    require_chromium()
    with ComfyServer() as running:
        yield running


@pytest.fixture(scope="module")
def page(server):
    with frontend(server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def nodes(server):
    return server.object_info()


def asked_for(graph, nodes):
    """The graph without what the page queues for itself, such as what PreviewAny shows."""
    known = {kind: {name for part in node["input"].values() for name in part} for kind, node in nodes.items()}
    return {
        key: node
        | {"inputs": {name: value for name, value in node["inputs"].items() if name in known[node["class_type"]]}}
        for key, node in graph.items()
    }


@pytest.fixture(scope="module", params=NAMES)
def opened(page, request):
    """The page with one workflow open, and that workflow's name."""
    page.errors()
    page.load(shipped_workflow(request.param))
    return page, request.param


def test_no_node_is_missing(opened):
    page, name = opened
    assert page.missing_node_types() == []
    assert page.call("return app.rootGraph.nodes.length") == len(shipped_workflow(name)["nodes"])


def test_it_queues_the_graph_that_the_server_test_runs(opened, nodes):
    page, name = opened
    assert asked_for(page.api_graph(), nodes) == completed(shipped_graph(name), nodes)


def test_the_page_has_no_errors(opened):
    page, _ = opened
    assert page.errors() == []


def test_it_is_among_the_templates(opened):
    page, name = opened
    templates = page.call("return await (await fetch('/api/workflow_templates')).json()")
    assert name in templates["withanyone"]
    thumbnail = f"/api/workflow_templates/withanyone/{name}.jpg"
    assert page.call("return (await fetch(args[0])).headers.get('content-type')", thumbnail) == "image/jpeg"


def test_what_is_muted_can_be_switched_on(opened, nodes):
    page, name = opened
    page.unmute()
    assert asked_for(page.api_graph(), nodes) == completed(unmuted_graph(name), nodes)


@pytest.mark.parametrize("path", sorted((ROOT / "subgraphs").glob("*.json")), ids=lambda path: path.stem)
def test_every_blueprint_is_in_the_library_and_opens(page, path):
    known = page.call("return await (await fetch('/api/global_subgraphs')).json()")
    (number,) = (number for number, each in known.items() if each["name"] == path.stem)
    content = page.call("return await (await fetch(args[0])).json()", f"/api/global_subgraphs/{number}")["data"]
    page.errors()
    page.load(json.loads(content))
    assert page.missing_node_types() == []
    names = page.call("return app.rootGraph.nodes.map(node => node.subgraph.name)")
    assert names == [path.stem]
    inner = page.call("return app.rootGraph.nodes[0].subgraph.nodes.length")
    assert inner == len(json.loads(content)["definitions"]["subgraphs"][0]["nodes"])
    assert page.errors() == []


def test_the_demo_s_address_opens_its_workflow(page):
    url = page.call("return location.origin")
    wanted = sorted(node["type"] for node in shipped_workflow(WORKFLOW)["nodes"])
    opened = Page(page.driver, page_of(url))
    shown = "return app.rootGraph.nodes.map(node => node.type).sort()"
    assert WebDriverWait(page.driver, READY_SECONDS).until(lambda _: opened.call(shown) == wanted)
