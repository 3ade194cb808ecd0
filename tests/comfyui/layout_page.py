"""Face Layout in a browser: its canvas drawn on with the browser's own mouse and keys, its image read back."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from ...withanyone_core.identities.identity_file import save_identity
from ..identities.test_identity_file import person
from .browser import Page, frontend, require_chromium
from .frontends import frontend_options
from .server import ComfyServer

WIDGET = "/extensions/withanyone/face_layout"
NODES_2 = "Nodes 2.0"
RENDERERS = ("LiteGraph", NODES_2)
MOVE_MS = 20  # a mouse that jumps would do, but not one that takes selenium's quarter of a second each time
Point = tuple[float, float]


@contextmanager
def opened(version: str) -> Iterator[tuple[ComfyServer, Page]]:
    """A server that shows this frontend, and its page."""
    require_chromium()
    with ComfyServer(options=frontend_options(version)) as server:
        server.post("/settings/Comfy.TutorialCompleted", True)  # else the first page opens with a choice of templates
        with frontend(server.url, 1280, 1200) as page:
            yield server, page


def choose_renderer(page: Page, renderer: str) -> None:
    """One of RENDERERS."""
    nodes_2 = renderer == NODES_2
    page.call("await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', args[0])", nodes_2)


def save_people(server: ComfyServer, colours: Mapping[str, tuple[int, int, int]]) -> list[str]:
    """Identities by their names, each with a crop of one colour (0 to 255); what Load Identity calls their files."""
    folder = server.base / "output/identities"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, colour in colours.items():
        path = folder / f"{re.sub(r'[^a-z]', '_', name.lower())}_00001_.safetensors"
        if not path.exists():
            crop = torch.tensor(colour).expand(512, 512, 3) / 255
            save_identity(replace(person(name), crop=crop.contiguous()), path)
        files.append(f"{path.name} [output]")
    return files


class LayoutPage:
    """The page with one Face Layout node, number 1, as large as on the screen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.driver = page.driver

    def open(self, boxes: str | list[list[float]], width: int = 1024, height: int = 1024) -> None:
        """A workflow of nothing but the node. Boxes as lists are in pixels."""
        text = boxes if isinstance(boxes, str) else fractions(boxes, width, height)
        self.load(workflow_of(text, width, height))

    def load_graph(self, graph: dict[str, Any]) -> None:
        """An API graph, with the node where it can be seen whole."""
        self.page.call(
            """
            await app.loadApiJson(args[0], 'graph')
            const node = app.rootGraph.getNodeById(1)
            node.pos = [80, 120]
            node.setSize([460, 620])
            let x = 700
            for (const other of app.rootGraph.nodes) if (other !== node) other.pos = [(x += 300), 120]
            """,
            graph,
        )
        self.load(self.page.workflow())

    def queue(self) -> str:
        """The Run button's own way; the prompt's id."""
        return self.page.call(
            """
            const finished = new Promise(done => {
                for (const kind of ['execution_success', 'execution_error'])
                    app.api.addEventListener(kind, ({detail}) => done(detail.prompt_id), {once: true})
            })
            await app.queuePrompt(0)
            return await finished
            """
        )

    def load(self, workflow: dict[str, Any]) -> None:
        self.page.load(workflow | {"extra": {"ds": {"scale": 1, "offset": [0, 0]}}})
        self.settle()

    def settle(self) -> None:
        """Until the node has stood still for three frames, in which all that was asked for is drawn."""
        self.page.call(
            """
            const place = () => JSON.stringify(document.querySelector('.withanyone-surface')?.getBoundingClientRect())
            for (let still = 0, before = ''; still < 3; still = place() === before ? still + 1 : 0) {
                before = place()
                await new Promise(requestAnimationFrame)
            }
            """
        )

    def text(self) -> str:
        """The value as the workflow keeps it."""
        return self.page.call("return app.rootGraph.getNodeById(1).widgets.find(w => w.name === 'boxes').value")

    def boxes_px(self) -> list[list[float]]:
        width, height = self.size()
        return [
            [round(v * s, 6) for v, s in zip(box, (width, height) * 2, strict=True)] for box in json.loads(self.text())
        ]

    def size(self) -> tuple[int, int]:
        sides = "['width', 'height'].map(n => app.rootGraph.getNodeById(1).widgets.find(w => w.name === n).value)"
        return tuple(self.page.call(f"return {sides}"))

    def until(self, done: Callable[[], bool]) -> None:
        WebDriverWait(self.driver, 20).until(lambda _: done())

    def status(self) -> str:
        self.settle()
        return self.page.call("return document.querySelector('.withanyone-status').textContent")

    @property
    def surface(self) -> Any:
        return self.driver.find_element(By.CLASS_NAME, "withanyone-surface")

    def drag(self, start: Point, end: Point, *held: str) -> None:
        """With the left button, from one point of the image to another, in its pixels, while keys are held."""
        actions = self._actions(held)
        self._move(actions, start).click_and_hold()
        middle = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
        self._move(self._move(actions, middle), end).release()
        self._let_go(actions, held).perform()
        self.settle()

    def click(self, point: Point) -> None:
        self._move(self._actions(), point).click().perform()
        self.settle()

    def press(self, key: str, *held: str, times: int = 1) -> None:
        actions = self._actions(held)
        for _ in range(times):
            actions.send_keys(key)
        self._let_go(actions, held).perform()
        self.settle()

    def button(self, label: str) -> None:
        (button,) = [
            e for e in self.driver.find_elements(By.CSS_SELECTOR, ".withanyone-toolbar button") if e.text == label
        ]
        button.click()
        self.settle()

    def colour(self, point: Point) -> list[int]:
        """[red, green, blue] of what is drawn at a point of the image, given in its pixels."""
        x, y = point
        return self._pixels((x, y, x, y))[0]

    def amount(self, colour: Iterable[int], box_px: Iterable[float]) -> float:
        """Which part of a box's pixels on the screen is nearly of this colour."""
        pixels = self._pixels(tuple(box_px))
        return sum(near(pixel, colour) for pixel in pixels) / len(pixels)

    def _pixels(self, box_px: tuple[float, ...]) -> list[list[int]]:
        return self.page.call(
            f"""
            const {{fitted}} = await import('{WIDGET}/view.js')
            const canvas = document.querySelector('.withanyone-stage canvas')
            const stage = {{width: canvas.clientWidth, height: canvas.clientHeight}}
            const view = fitted(stage, {{width: args[1][0], height: args[1][1]}})
            const density = canvas.width / stage.width
            const corners = args[0].map((value, axis) => (axis % 2 ? view.top : view.left) + value * view.scale)
            const [x1, y1, x2, y2] = corners.map(value => Math.floor(value * density))
            const {{data}} = canvas.getContext('2d').getImageData(x1, y1, x2 - x1 + 1, y2 - y1 + 1)
            return Array.from({{length: data.length / 4}}, (_, pixel) => [...data.slice(4 * pixel, 4 * pixel + 3)])
            """,
            box_px,
            self.size(),
        )

    def _actions(self, held: Iterable[str] = ()) -> ActionChains:
        actions = ActionChains(self.driver, duration=MOVE_MS)
        for key in held:
            actions.key_down(key)
        return actions

    def _let_go(self, actions: ActionChains, held: Iterable[str]) -> ActionChains:
        for key in held:
            actions.key_up(key)
        return actions

    def _move(self, actions: ActionChains, point: Point) -> ActionChains:
        """Selenium counts from the middle of an element, in whole pixels."""
        dx, dy = self.page.call(
            f"""
            const {{fitted}} = await import('{WIDGET}/view.js')
            const surface = document.querySelector('.withanyone-surface'), box = surface.getBoundingClientRect()
            const stage = {{width: surface.clientWidth, height: surface.clientHeight}}
            const view = fitted(stage, {{width: args[1][0], height: args[1][1]}})
            const zoom = box.width / stage.width
            return [(view.left + args[0][0] * view.scale - stage.width / 2) * zoom,
                    (view.top + args[0][1] * view.scale - stage.height / 2) * zoom]
            """,
            point,
            self.size(),
        )
        return actions.move_to_element_with_offset(self.surface, round(dx), round(dy))


def fractions(boxes_px: list[list[float]], width: int, height: int) -> str:
    """The JSON of boxes in pixels, as the widget writes it."""
    rows = [[v / s for v, s in zip(box, (width, height) * 2, strict=True)] for box in boxes_px]
    return json.dumps(rows)


def workflow_of(text: str, width: int, height: int) -> dict[str, Any]:
    node = {
        "id": 1,
        "type": "WithAnyoneFaceLayout",
        "pos": [80, 120],
        "size": [460, 620],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [width, height, text],
    }
    return {"version": 0.4, "last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": [], "groups": []}


def group_graph(text: str, files: list[str], weight: float = 1.0) -> dict[str, Any]:
    """Saved people placed one after the other into drawn boxes, over a backdrop, as an API graph. Layout is node 1."""
    graph = {
        "1": _node("WithAnyoneFaceLayout", width=1024, height=768, boxes=text, backdrop=["2", 0]),
        "2": _node("EmptyImage", width=64, height=48, batch_size=1, color=0x204060),
    }
    faces = {}
    for number, file in enumerate(files):
        graph[f"{10 + number}"] = _node("WithAnyoneLoadIdentity", identity_file=file)
        place = {"identity": [f"{10 + number}", 0], "weight": weight, "box": 0, "layout": ["1", 0]}
        graph[f"{30 + number}"] = _node("WithAnyonePlaceFace", **place, **faces)
        faces = {"faces": [f"{30 + number}", 0]}
    graph["50"] = _node("WithAnyonePreviewFaces", width=0, height=0, **faces)
    return graph


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def near(colour: list[int], expected: Iterable[int], tolerance: int = 12) -> bool:
    return math.dist(colour, list(expected)) <= tolerance


CONTROL, SHIFT, ALT = Keys.CONTROL, Keys.SHIFT, Keys.ALT
