"""Makes the shipped workflows: the graphs of definitions.py, through ComfyUI's own frontend, set out for the eye.

    .testbed/venv/bin/python tests/comfyui/workflows/make.py [--no-images] [NAME...]

Writes example_workflows/NAME.json and .jpg, for all of them or those named. The miniature is run before its images
are taken. What is folded also gives the blueprints in subgraphs/, and two_people_long with miniature
docs/images/real_and_miniature.jpg.
"""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from pack import ROOT, load_pack
from PIL import Image

load_pack()

from withanyone_pack.miniature.world import draw_portrait, person_of, render
from withanyone_pack.tests.comfyui.browser import Page, frontend
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.workflows.arrangement import GAP, finished
from withanyone_pack.tests.comfyui.workflows.definitions import WORKFLOWS
from withanyone_pack.tests.comfyui.workflows.draft import Draft
from withanyone_pack.tests.comfyui.workflows.folding import blueprint

WINDOW_PX = 2700, 2000
THUMBNAIL_PX = 1000, 750
PERSONS = (1_000_001, 1_000_002, 1_000_003, 1_000_005)
# the group that a thumbnail begins with, by its place; the second unless named
SHOWN = {"face_layout": 2, "until_alike": 4}
RUN, RUN_SECONDS = {"miniature"}, 300  # what needs nothing but the pack is shown with its results
TOGETHER, TOGETHER_PX = ("two_people_long", "miniature"), 1800  # one above the other, so wide
EDGE = 3 * GAP  # above the graph, where the page keeps its menu button

Region = tuple[float, float, float, float]  # x, y, width and height on the canvas


def drawn_people(*persons: int, day: int = 0) -> Image.Image:
    """People of the miniature world, side by side. No photograph of anyone is committed with a screenshot."""
    scenes = [draw_portrait(np.random.default_rng([day, person]), person_of(person)) for person in persons]
    return Image.fromarray(np.concatenate([render(scene, 320, 320).pixels for scene in scenes], axis=1))


def draw_images(folder: Path) -> None:
    for number, person in enumerate(PERSONS, 1):
        drawn_people(person).save(folder / f"person_{number}.jpg")
    drawn_people(*reversed(PERSONS)).save(folder / "guide.jpg")
    drawn_people(*PERSONS[2:]).save(folder / "to_edit.jpg")
    drawn_people(PERSONS[0], day=1).save(folder / "another_photo.jpg")
    drawn_people(*PERSONS[:2], day=2).save(folder / "to_measure.jpg")
    for number, person in enumerate(PERSONS[:2], 1):
        drawn_people(person, day=1).save(folder / f"person_{number}_again.jpg")
    drawn_people(PERSONS[1], day=1).save(folder / "another_photo_2.jpg")


def without_menus(page: Page) -> None:
    page.call(
        """
        const page = app.extensionManager
        await page.setting.set('Comfy.Minimap.Visible', false)
        await page.setting.set('Comfy.Graph.CanvasInfo', false)
        await page.setting.set('Comfy.Graph.CanvasMenu', false)
        await page.command.execute('Workspace.ToggleFocusMode')
        await new Promise(done => setTimeout(done, 1000))
        """
    )


def run(page: Page, server: ComfyServer) -> None:
    """Queues the open graph as a user would, and waits until it is done."""
    before = set(server.get("/history"))
    page.call("await app.queuePrompt(0, 1)")
    end = time.monotonic() + RUN_SECONDS
    while not (new := set(server.get("/history")) - before):
        if time.monotonic() > end:
            raise TimeoutError(f"The graph did not finish.\n{server.log()[-3000:]}")
        time.sleep(0.2)
    server.wait(new.pop())


def screenshot(page: Page, region: Region) -> Image.Image:
    scale = page.call(
        """
        for (const cover of document.querySelectorAll('.p-dialog-mask, .p-toast')) cover.remove()
        const box = args[0], canvas = app.canvas, view = canvas.canvas.getBoundingClientRect()
        canvas.ds.scale = Math.min(view.width / box[2], view.height / box[3])
        canvas.ds.offset = [-box[0], -box[1]]
        canvas.setDirty(true, true)
        await new Promise(done => setTimeout(done, 2000))
        return canvas.ds.scale
        """,
        region,
    )
    image = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    return image.crop((0, 0, round(region[2] * scale), round(region[3] * scale)))


def whole(groups: list[dict[str, Any]]) -> Region:
    boxes = [group["bounding"] for group in groups]
    x, y = min(box[0] for box in boxes) - 2 * GAP, min(box[1] for box in boxes) - EDGE
    right, bottom = (max(box[axis] + box[axis + 2] for box in boxes) for axis in (0, 1))
    return x, y, right + 2 * GAP - x, bottom + 2 * GAP - y


def middle(groups: list[dict[str, Any]], first: int) -> Region:
    """A part that fits a thumbnail: from one group on, the height of the first row."""
    x, y, _, height = groups[first]["bounding"]
    wide, high = THUMBNAIL_PX
    height += 2 * GAP
    return x - GAP, y - GAP, height * wide / high, height


def write_files(names: list[str]) -> None:
    """The workflows without their images."""
    with ComfyServer() as server:
        server.post("/settings/Comfy.TutorialCompleted", True)
        with frontend(server.url, *WINDOW_PX) as page:
            for name in names or WORKFLOWS:
                write_workflow(page, name, WORKFLOWS[name]())


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def one_above_the_other(images: list[Image.Image]) -> Image.Image:
    """Images of equally wide graphs, so that what is the same stands in the same column."""
    shrunk = [
        image.resize((TOGETHER_PX, round(image.height * TOGETHER_PX / image.width)), Image.Resampling.LANCZOS)
        for image in images
    ]
    return Image.fromarray(np.concatenate([np.asarray(image) for image in shrunk]))


def write_workflow(page: Page, name: str, draft: Draft) -> dict[str, Any]:
    page.call("await app.loadApiJson(args[0], args[1])", draft.api_graph(), name)
    workflow = finished(name, draft, page.workflow())
    write(ROOT / f"example_workflows/{name}.json", workflow)
    if draft.folds:
        for fold in draft.folds.subgraphs:
            write(ROOT / f"subgraphs/{fold.title}.json", blueprint(workflow, fold.title))
    return workflow


def make(page: Page, server: ComfyServer, name: str, draft: Draft) -> Image.Image:
    """Writes one workflow's files; returns its image."""
    workflow = write_workflow(page, name, draft)
    page.load(workflow)
    if name in RUN:
        run(page, server)
    part = screenshot(page, middle(workflow["groups"], SHOWN.get(name, 1)))
    thumbnail = part.resize(THUMBNAIL_PX, Image.Resampling.LANCZOS)
    thumbnail.save(ROOT / f"example_workflows/{name}.jpg", quality=80, optimize=True)
    return screenshot(page, whole(workflow["groups"]))


def main(names: list[str], images: Path | None = None) -> None:
    """Makes the named workflows, or all; images of all of each go to a folder, if one is given."""
    if "--no-images" in names:
        return write_files([name for name in names if not name.startswith("--")])
    made = {}
    with ComfyServer() as server:
        draw_images(server.base / "input")
        server.post("/settings/Comfy.TutorialCompleted", True)  # else the first page opens with a choice of templates
        for name in names or WORKFLOWS:
            # a browser for each: a page remembers by a node's number how high its image is
            with frontend(server.url, *WINDOW_PX) as page:
                without_menus(page)
                made[name] = make(page, server, name, WORKFLOWS[name]())
            if images:
                made[name].save(images / f"{name}.png")
    if made.keys() >= set(TOGETHER):
        image = one_above_the_other([made[name] for name in TOGETHER])
        image.save(ROOT / "docs/images/real_and_miniature.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
