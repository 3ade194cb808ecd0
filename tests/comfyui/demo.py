"""Runs the shipped two-person workflow with the miniature's loaders in a real ComfyUI; see demo.sh."""

import argparse
import json
import os
import shutil
import sys
import time
import webbrowser
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import load_pack

load_pack()

from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import Graph, id_of, node_of, shipped_graph, shipped_workflow

WORKFLOW = "miniature"
SAID = (
    "Every model is the miniature's own: small, trained on drawn people, and shipped with the pack. The workflow\n"
    "two_people_long is the same graph with FLUX.1's loaders."
)
SEEDS = (1, 2)
SECONDS = 1800
SHOWN = {"SaveImage": "image", "WithAnyoneIdentityMeter": "identity_meter"}


def to_files(folder: Path) -> None:
    """Runs the workflow for each seed and leaves images, layout and the Identity Meter's verdict in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ComfyServer() as server:
        print(f"A real ComfyUI runs the miniature workflow at {server.url}.", flush=True)
        get_ready(server, folder)
        for seed in SEEDS:
            graph = with_seed(shipped_graph(WORKFLOW), seed)
            started = time.monotonic()
            history = server.run(graph, SECONDS)
            images = node_of(graph, "EmptySD3LatentImage")["batch_size"]
            print(f"Seed {seed}: {images} images in {time.monotonic() - started:.1f} seconds.")
            for kind, name in SHOWN.items():
                copy_images(server, history, graph, kind, folder / f"{name}_{seed}")
            numbers = json.loads(history["outputs"][id_of(graph, "PreviewAny")]["text"][0])
            path = folder / f"identity_meter_{seed}.json"
            path.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            print(*verdict(numbers), f"  {path}", sep="\n", flush=True)
    print(SAID)


def get_ready(server: ComfyServer, folder: Path) -> None:
    """One step, so that models are loaded, people recognized and places drawn before the time is taken."""
    graph = with_seed(shipped_graph(WORKFLOW), 0)
    node_of(graph, "WithAnyoneScheduler").update(steps=1)
    started = time.monotonic()
    history = server.run(graph, SECONDS)
    print(f"Models loaded and people recognized in {time.monotonic() - started:.1f} seconds.")
    copy_images(server, history, graph, "WithAnyoneLayout", folder / "layout")


def with_seed(graph: Graph, seed: int) -> Graph:
    node_of(graph, "RandomNoise").update(noise_seed=seed)
    return graph


def copy_images(server: ComfyServer, history: dict[str, Any], graph: Graph, kind: str, path: Path) -> None:
    """What a node of this kind has made, as PATH_NUMBER."""
    for number, file in enumerate(server.images(history, id_of(graph, kind)), 1):
        copy = path.with_name(f"{path.name}_{number}{file.suffix}")
        shutil.copy(file, copy)
        print(f"  {copy}", flush=True)


def verdict(numbers: dict[str, Any]) -> list[str]:
    """The meter's numbers in a line a person."""
    people, images = numbers["people"], numbers["likeness"]
    lines = [f"  Identity Meter, judged by {numbers['judge']['name']}:"]
    for person in people:
        rows = [image["face_of"][person] for image in images if person not in image["lost"]]
        said = ", ".join(f"like {who} {fmean(row[who] for row in rows):+.2f}" for who in people if rows)
        right = sum(max(row, key=row.get) == person for row in rows)
        found = f"    {person}: found in {len(rows)} of {len(images)}"
        lines.append(f"{found}, most like themselves in {right}; {said}" if rows else found)
    return lines


def page_of(url: str) -> str:
    """The address at which the server's page opens with the workflow."""
    return f"{url}/?template={WORKFLOW}&source=withanyone"


def in_browser() -> None:
    """Keeps the server running and opens the workflow in a browser, until interrupted."""
    with ComfyServer() as server:
        saved = server.base / f"user/default/workflows/{WORKFLOW}.json"
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(json.dumps(shipped_workflow(WORKFLOW)))
        server.post("/settings/Comfy.TutorialCompleted", True)  # else the page opens with a choice of templates
        address = page_of(server.url)
        print("Opened" if has_screen() and webbrowser.open(address) else "No browser can be opened here. Open", address)
        print(f"The workflow {WORKFLOW} is also in the sidebar's Workflows. Ctrl-C ends ComfyUI.")
        print(SAID, flush=True)
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print()


def has_screen() -> bool:
    """Without one, a browser of the terminal would be opened, which runs no ComfyUI."""
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for images and verdict")
    parser.add_argument("--ui", action="store_true", help="open ComfyUI with the workflow in a browser instead")
    choices = parser.parse_args()
    if choices.ui:
        in_browser()
    else:
        to_files(choices.out)


if __name__ == "__main__":
    main()
