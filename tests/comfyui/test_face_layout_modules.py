"""What Face Layout's modules compute, against the server's own code: in Chromium, without ComfyUI."""

import functools
import http.server
import json
import random
import threading

import pytest
from withanyone_pack.tests.comfyui.browser import chromium, require_chromium
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.canvas import CELL_PX
from withanyone_pack.withanyone_core.regions.cells import box_cells
from withanyone_pack.withanyone_core.regions.drawn_boxes import boxes_from_json, boxes_to_json
from withanyone_pack.withanyone_core.regions.layout import Box
from withanyone_pack.withanyone_core.regions.presets import known_places
from withanyone_pack.withanyone_core.regions.preview import colour_of

pytestmark = pytest.mark.browser

WEB = ROOT / "nodes/web"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def module():
    """Runs the body of an async function with what a module of face_layout/ exports at hand, as `module`."""
    require_chromium()
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(WEB)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    with chromium() as driver:
        driver.get(f"http://127.0.0.1:{served.server_port}/face_layout/boxes.js")

        def run(name, body, *values):
            script = f"""
                const [args, done] = [[...arguments].slice(0, -1), arguments[arguments.length - 1]];
                import('/face_layout/{name}.js')
                    .then(async module => JSON.stringify(await (async () => {{ {body} }})()))
                    .then(done, error => done(JSON.stringify({{error: String(error)}})))
            """
            return json.loads(driver.execute_async_script(script, *values))

        yield run
    served.shutdown()
    served.server_close()


def random_boxes(count):
    """Anywhere around the canvas, and on the edges of cells as pixels give them."""
    within = random.Random(7)
    boxes = [
        Box(*(within.uniform(-0.2, 0.9) for _ in range(2)), *(within.uniform(0.1, 1.2) for _ in range(2)))
        for _ in range(count)
    ]
    edges = [sorted(within.sample(range(0, 1025, 16), 2)) for _ in range(count)]
    return boxes + [Box(a / 1024, a / 1024, b / 1024, b / 1024) for a, b in edges]


@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (832, 1216), (1040, 592), (10000, 10000), (16, 2048)])
def test_cells_are_those_the_model_uses(module, width, height):
    boxes = random_boxes(150)
    counted = module(
        "geometry",
        "return args[0].map(box => module.boxCells(box, args[1]))",
        [list(box.as_tuple()) for box in boxes],
        {"width": width, "height": height, "cell": CELL_PX},
    )
    columns, rows = width // CELL_PX, height // CELL_PX
    assert counted == [list(box_cells(box.to_px(width, height), columns, rows)) for box in boxes]


def test_colours_are_those_of_the_previews(module):
    numbers = list(range(1, 100))
    assert module("colours", "return args[0].map(module.colourOf)", numbers) == [list(colour_of(n)) for n in numbers]


def test_boxes_cross_over_and_back_to_the_last_bit(module):
    boxes = tuple(box for box in random_boxes(100) if box.x1 < min(box.x2, 1) and box.y1 < min(box.y2, 1))
    text = module("boxes", "return module.writeBoxes(module.parseBoxes(args[0]).boxes)", boxes_to_json(boxes))
    assert boxes_from_json(text) == boxes


@pytest.mark.parametrize(
    "text", ["", "{}", "[[1, 2, 3]]", '[[0, 0, 1, "1"]]', "[[0, 0, 1, null]]", "[[0, 0, 1, 1e999]]"]
)
def test_what_the_server_cannot_read_is_shown_by_no_box(module, text):
    with pytest.raises(ValueError, match=r"[Bb]ox"):
        boxes_from_json(text)
    parsed = module("boxes", "return module.parseBoxes(args[0])", text)
    assert parsed["boxes"] == []
    assert parsed["problem"]


def test_history_goes_back_and_forth_and_forgets_what_was_undone(module):
    body = """
        const {begun, recorded, undone, redone} = module
        const three = recorded(recorded(begun(1), 2), 3)
        const back = undone(undone(undone(three)))
        const forth = redone(redone(redone(back)))
        const other = recorded(undone(three), 4)
        const long = Array.from({length: 500}).reduce((history, _, index) => recorded(history, index), begun(-1))
        return [back, forth, redone(other), long.past.length]
    """
    back, forth, other, kept = module("history", body)
    assert back == {"past": [], "present": 1, "future": [2, 3]}
    assert forth == {"past": [1, 2], "present": 3, "future": []}
    assert other == {"past": [1, 2], "present": 4, "future": []}
    assert kept == 200


def test_people_are_found_across_the_ends_of_subgraphs(module):
    """The layout is used twice, once in a muted node, and its link leaves two subgraphs, one in the other."""
    names = module(
        "graph",
        """
        const place = (id) => ({
          id, mode: 0, comfyClass: "WithAnyonePlaceFace", inputs: [{ name: "identity" }, { name: "layout" }],
        });
        const graph = (id, nodes, links, more = {}) => Object.assign(
          { id, nodes, links, outputNode: { id: -20 }, getNodeById: (wanted) => nodes.find((n) => n.id === wanted) },
          more,
        );
        const layout = { id: 1, mode: 0, outputs: [{ links: [1] }] };
        const inner = graph("inner", [layout], { 1: { target_id: -20, target_slot: 0 } });
        const nested = { id: 5, mode: 0, subgraph: inner, outputs: [{ links: [2] }] };
        const outer = graph("outer", [nested, place(7)], {
          2: { target_id: -20, target_slot: 1 },
        });
        const shown = { id: 9, mode: 0, subgraph: outer, outputs: [{ links: [] }, { links: [3] }] };
        const muted = { id: 10, mode: 2, subgraph: outer, outputs: [{ links: [] }, { links: [4] }] };
        const root = graph("root", [shown, muted, place(11), place(12)], {
          3: { target_id: 11, target_slot: 1 }, 4: { target_id: 12, target_slot: 1 },
        }, { subgraphs: new Map([["inner", inner], ["outer", outer]]), outputNode: undefined });
        for (const one of [root, inner, outer]) {
          one.rootGraph = root;
          for (const node of one.nodes) node.graph = one;
        }
        const outputs = (name, box) => ({ withanyone_placed: [{ name, box, crop: {} }] });
        const app = {
          nodeOutputs: { 11: outputs("Ada", 1), 12: outputs("Cleo", 2), "outer:7": outputs("Eve", 3) },
          api: { apiURL: String },
        };
        return module.placedPeople(app, layout).map(({ name, box }) => [name, box]);
        """,
    )
    assert names == [["Ada", 1]]


def test_boxes_go_from_one_known_place_to_another(module):
    places = known_places()["176x176"]
    canvas = {"width": 176, "height": 176, "cell": CELL_PX, "places": places}
    left, middle, right = (list(Box.from_px(x, 32, x + 80, 112, 176, 176).as_tuple()) for x in (0, 48, 96))
    near_the_left = list(Box.from_px(5, 40, 70, 100, 176, 176).as_tuple())
    nearest = "return module.nearestPlace(...args)"

    assert module("places", nearest, near_the_left, canvas) == left
    assert module("places", nearest, near_the_left, {**canvas, "places": []}) == near_the_left
    copy = module("places", nearest, left, canvas, [left])
    assert copy in places
    assert copy != left

    steps = "return args[2].map(step => module.nextPlace(args[0], ...step, args[1]))"
    assert module("places", steps, middle, canvas, [[1, 0], [-1, 0]]) == [right, left]
    assert module("places", steps, left, canvas, [[-1, 0]]) == [left]
    assert module("places", steps, left, {**canvas, "places": []}, [[1, 0]]) == [left]


def test_a_box_beside_the_known_places_is_remarked_on(module):
    places = known_places()["176x176"]
    canvas = {"width": 176, "height": 176, "cell": CELL_PX, "places": places}
    beside = list(Box.from_px(16, 32, 96, 112, 176, 176).as_tuple())
    remarks = "return args[2].map(canvas => module.remarks([args[0], args[1]], canvas, 4))"
    other = {"width": 1024, "height": 1024, "cell": CELL_PX}
    known, elsewhere = module("remarks", remarks, places[-1], beside, [canvas, other])
    assert [sum("does not know this place" in text for text in found) for found in known] == [0, 1]
    assert not [text for found in elsewhere for text in found if "place" in text]


def test_the_editor_keeps_boxes_in_known_places(module):
    places = known_places()["176x176"]
    canvas = {"width": 176, "height": 176, "cell": CELL_PX, "places": places}
    body = """
        const editor = new module.Editor(() => args[0], () => {})
        editor.load([args[1]])
        editor.select(0)
        const seen = []
        for (const act of [() => editor.move(1, 0), () => editor.resize(1, 1), () => editor.duplicate()]) {
            act()
            seen.push(editor.boxes)
        }
        return seen
    """
    moved, resized, copied = module("editor", body, canvas, places[0])
    assert moved != [places[0]]
    assert resized == moved
    assert len(copied) == 2
    assert copied[0] != copied[1]
    assert all(box in places for box in (*moved, *copied))
