"""The shipped workflows in a real browser, all in one page."""

import pytest
from selenium.webdriver.support.ui import WebDriverWait
from withanyone_pack.tests.comfyui.browser import READY_SECONDS, Page, frontend, require_chromium
from withanyone_pack.tests.comfyui.demo import WORKFLOW, page_of
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import GRAPHS, NAMES, shipped_graph, shipped_workflow

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page():
    require_chromium()
    with ComfyServer() as server, frontend(server.url) as opened:
        yield opened


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


def test_it_queues_the_graph_that_the_server_test_runs(opened):
    page, name = opened
    assert page.api_graph() == shipped_graph(name)


def test_the_page_has_no_errors(opened):
    page, _ = opened
    assert page.errors() == []


def test_it_is_among_the_templates(opened):
    page, name = opened
    templates = page.call("return await (await fetch('/api/workflow_templates')).json()")
    assert name in templates["withanyone"]
    thumbnail = f"/api/workflow_templates/withanyone/{name}.jpg"
    assert page.call("return (await fetch(args[0])).headers.get('content-type')", thumbnail) == "image/jpeg"


def test_what_is_muted_can_be_switched_on(opened):
    page, name = opened
    muted = any(node["mode"] for node in shipped_workflow(name)["nodes"])
    assert muted == (GRAPHS / f"{name}_unmuted.json").exists()
    if muted:
        page.unmute()
        assert page.api_graph() == shipped_graph(f"{name}_unmuted")


def test_the_demo_s_address_opens_its_workflow(page):
    url = page.call("return location.origin")
    wanted = sorted(node["type"] for node in shipped_workflow(WORKFLOW)["nodes"])
    opened = Page(page.driver, page_of(url))
    shown = "return app.rootGraph.nodes.map(node => node.type).sort()"
    assert WebDriverWait(page.driver, READY_SECONDS).until(lambda _: opened.call(shown) == wanted)
