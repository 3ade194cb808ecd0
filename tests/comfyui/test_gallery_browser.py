"""Saved people in Load Identity, in a real Chromium, on both frontends and in both of their renderers."""

import itertools

import pytest
from selenium.webdriver.common.by import By
from withanyone_pack.tests.comfyui.frontends import FRONTENDS
from withanyone_pack.tests.comfyui.layout_page import RENDERERS, LayoutPage, choose_renderer, opened, save_people

pytestmark = pytest.mark.browser

RUNS = itertools.count()  # what ran before is not run again
PEOPLE = {"Ada": (220, 30, 30), "Ben": (30, 200, 30)}


@pytest.fixture(scope="module", params=FRONTENDS)
def served(request):
    with opened(request.param) as (server, page):
        yield server, page


@pytest.fixture(params=RENDERERS)
def gallery(served, request):
    server, page = served
    choose_renderer(page, request.param)
    ada, ben = save_people(server, PEOPLE)
    page.call("await app.loadApiJson(args[0], 'graph')", graph(ada))
    page.load(page.workflow())  # 1.32.9 shows a new node of an API graph with what an old one of its number left
    shown = Gallery(page)
    shown.until(lambda: shown.is_alone() and {ada, ben} <= set(shown.files()))
    return shown, server, ada, ben


def graph(file):
    return {
        "1": {"class_type": "WithAnyoneLoadIdentity", "inputs": {"identity_file": file}},
        "2": {
            "class_type": "WithAnyoneSaveIdentity",
            "inputs": {"identity": ["1", 0], "filename_prefix": f"copy_{next(RUNS)}"},
        },
    }


class Gallery(LayoutPage):
    def is_alone(self):
        """Whether that of the graph before has gone from the page."""
        self.page.call("for (let i = 0; i < 5; i++) await new Promise(requestAnimationFrame)")
        return len(self.driver.find_elements(By.CLASS_NAME, "withanyone-gallery")) == 1

    def people(self):
        return self.driver.find_elements(By.CSS_SELECTOR, ".withanyone-people-list > button")

    def files(self):
        """In one go, for the page draws its list again while it is looked at."""
        named = "return [...document.querySelectorAll('.withanyone-people-list > button')].map(b => b.dataset.name)"
        return self.page.call(named)

    def chosen(self):
        marked = [b.get_attribute("data-name") for b in self.people() if b.get_attribute("aria-pressed") == "true"]
        assert marked == [self.page.api_graph()["1"]["inputs"]["identity_file"]]
        return marked[0]


def test_saved_people_are_shown_with_their_faces_and_chosen_with_a_click(gallery):
    shown, _, ada, ben = gallery
    assert shown.chosen() == ada
    (button,) = [button for button in shown.people() if button.get_attribute("data-name") == ben]
    assert button.text == "ben"
    loaded = "return args[0].querySelector('img').naturalWidth"
    shown.driver.execute_script("arguments[0].scrollIntoView()", button)
    shown.until(lambda: shown.page.call(loaded, button) == 128)
    shown.driver.execute_script("arguments[0].click()", button)
    assert shown.chosen() == ben


def test_it_is_no_part_of_the_workflow(gallery):
    shown, _, ada, _ = gallery
    (node,) = [node for node in shown.page.workflow()["nodes"] if node["id"] == 1]
    assert node["widgets_values"] == [ada]
    assert shown.page.api_graph()["1"]["inputs"] == {"identity_file": ada}


def test_who_is_saved_meanwhile_is_listed_without_a_restart(gallery):
    shown, server, _, _ = gallery
    before = set(shown.files())
    shown.queue()
    shown.until(lambda: len(set(shown.files()) - before) == 1)
    (copy,) = set(shown.files()) - before
    assert copy.startswith("copy_")
    choices = "return app.rootGraph.getNodeById(1).widgets.find(w => w.name === 'identity_file').options.values"
    assert shown.page.call(choices) == shown.files()
    (server.base / "output/identities" / copy.removesuffix(" [output]")).unlink()
    shown.driver.execute_script("document.querySelector('.withanyone-gallery > button').click()")
    shown.until(lambda: copy not in shown.files())
