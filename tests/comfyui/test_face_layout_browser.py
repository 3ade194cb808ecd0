"""Face Layout in a real Chromium, on both frontends and in both of their renderers."""

import json
import os

import pytest
from selenium.webdriver.common.keys import Keys
from withanyone_pack.tests.comfyui.browser import frontend, require_chromium
from withanyone_pack.tests.comfyui.layout_page import ALT, CONTROL, SHIFT, LayoutPage, fractions, near
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.pack import TESTBED
from withanyone_pack.withanyone_core.preview import CANVAS, SHADE_ALPHA, colour_of

pytestmark = pytest.mark.browser

NEWEST = "1.58.1"
FRONTENDS = ("1.32.9", NEWEST)
RENDERERS = ("LiteGraph", "Nodes 2.0")
BOXES = [[96, 96, 304, 400], [512, 128, 768, 448]]


def newest_frontend():
    folder = TESTBED / f"frontend-{NEWEST}"
    if not folder.is_dir():
        words = f"the frontend {NEWEST} is not in the test bed; `bash test.sh` fetches it"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)
    return folder


@pytest.fixture(scope="module", params=FRONTENDS)
def served(request):
    require_chromium()
    options = () if request.param != NEWEST else ("--front-end-root", str(newest_frontend()))
    with ComfyServer(options=options) as server:
        server.post("/settings/Comfy.TutorialCompleted", True)  # else the first page opens with a choice of templates
        with frontend(server.url, 1280, 1200) as page:
            yield server, page


@pytest.fixture(params=RENDERERS)
def layout(served, request):
    _, page = served
    page.call(
        "await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', args[0])", request.param == RENDERERS[1]
    )
    return LayoutPage(page)


def shaded(number):
    """What a box's colour makes of the empty canvas."""
    part = SHADE_ALPHA / 255
    return [round(part * own + (1 - part) * behind) for own, behind in zip(colour_of(number), CANVAS, strict=True)]


def test_what_the_workflow_holds_is_drawn(layout):
    text = fractions(BOXES, 1024, 1024)
    layout.open(text)
    assert layout.text() == text
    assert near(layout.colour((200, 330)), shaded(1))
    assert near(layout.colour((640, 400)), shaded(2))
    assert not near(layout.colour((420, 250)), shaded(1), 40)


def test_a_box_is_drawn_with_the_mouse(layout):
    layout.open(BOXES)
    layout.drag((104, 616), (344, 856))
    assert layout.boxes_px() == [*BOXES, [96, 608, 352, 864]]
    expected = fractions([*BOXES, [96, 608, 352, 864]], 1024, 1024)
    assert json.loads(layout.text()) == json.loads(expected)
    assert near(layout.colour((200, 800)), shaded(3))
    assert layout.status() == "Box 3 of 3 · 16 x 16 cells at 6, 38"


def test_a_box_is_moved_by_its_middle_cell_by_cell(layout):
    layout.open(BOXES)
    layout.drag((200, 250), (200 + 161, 250 + 303))
    assert layout.boxes_px() == [[256, 400, 464, 704], BOXES[1]]
    assert near(layout.colour((300, 680)), shaded(1))
    assert not near(layout.colour((120, 250)), shaded(1))
    layout.drag((350, 550), (1500, 550))
    assert layout.boxes_px()[0] == [1024 - 208, 400, 1024, 704]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((304, 400), (402, 450), [96, 96, 400, 448]),
        ((96, 96), (46, 60), [48, 64, 304, 400]),
        ((304, 250), (352, 500), [96, 96, 352, 400]),
        ((200, 96), (500, 20), [96, 16, 304, 400]),
        ((96, 250), (900, 250), [288, 96, 304, 400]),
    ],
    ids=["lower right corner", "upper left corner", "right edge", "upper edge", "never turned over"],
)
def test_a_box_is_resized_by_corners_and_edges(layout, start, end, expected):
    layout.open(BOXES)
    layout.drag(start, end)
    assert layout.boxes_px() == [expected, BOXES[1]]


def test_shift_draws_over_a_box_and_alt_leaves_the_cells(layout):
    layout.open(BOXES)
    layout.drag((136, 136), (250, 250), SHIFT)
    assert layout.boxes_px() == [*BOXES, [128, 128, 256, 256]]
    layout.drag((600, 600), (703, 705), ALT)
    x1, y1, x2, y2 = layout.boxes_px()[-1]
    assert all(abs(a - b) <= 4 for a, b in zip((x1, y1, x2, y2), (600, 600, 703, 705), strict=True))
    assert any(value % 16 for value in (x1, y1, x2, y2))


def test_keys_move_resize_duplicate_and_delete(layout):
    layout.open(BOXES)
    layout.click((200, 250))
    layout.press(Keys.ARROW_RIGHT, times=2)
    layout.press(Keys.ARROW_UP)
    assert layout.boxes_px()[0] == [128, 80, 336, 384]
    layout.press(Keys.ARROW_DOWN, SHIFT, times=2)
    layout.press(Keys.ARROW_LEFT, SHIFT)
    assert layout.boxes_px()[0] == [128, 80, 320, 416]
    layout.press("d", CONTROL)
    assert layout.boxes_px()[2] == [144, 96, 336, 432]
    layout.press(Keys.DELETE)
    assert layout.boxes_px() == [[128, 80, 320, 416], BOXES[1]]
    layout.press(Keys.PAGE_UP)
    layout.press(Keys.BACKSPACE)
    assert len(layout.boxes_px()) == 1
    assert layout.page.call("return app.rootGraph.nodes.length") == 1


def test_ten_mixed_actions_are_undone_and_done_again(layout):
    layout.open(BOXES)
    actions = [
        lambda: layout.drag((104, 616), (344, 856)),
        lambda: layout.drag((200, 250), (365, 300)),
        lambda: layout.press(Keys.ARROW_LEFT),
        lambda: layout.press(Keys.ARROW_DOWN, SHIFT),
        lambda: layout.press("d", CONTROL),
        lambda: layout.drag((768, 448), (850, 500)),
        lambda: layout.button("Row"),
        lambda: layout.click((200, 400)) or layout.press(Keys.DELETE),
        lambda: layout.drag((700, 800), (900, 900)),
        lambda: layout.button("Duplicate"),
    ]
    texts = [layout.text()]
    for action in actions:
        action()
        texts.append(layout.text())
    assert len({*texts}) == 11
    layout.click((20, 20))
    for expected in reversed(texts[:-1]):
        layout.press("z", CONTROL)
        assert layout.text() == expected
    layout.press("z", CONTROL)
    assert layout.text() == texts[0]
    assert layout.page.call("return app.rootGraph.nodes.length") == 1
    for number, expected in enumerate(texts[1:]):
        layout.press("y", CONTROL) if number % 2 else layout.press("z", CONTROL, SHIFT)
        assert layout.text() == expected
