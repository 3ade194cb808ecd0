"""Runs the shipped miniature workflow in a real ComfyUI; see demo.sh."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import load_pack

load_pack()

from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import id_of, shipped_graph, shipped_workflow

WORKFLOW = "miniature"
SAID = (
    "Every model is the miniature's own: small, trained on drawn people, and shipped with the pack. The people of the\n"
    "photos are found, recognised and given places, but they do not steer the picture yet: the miniature has no\n"
    "adapter."
)
SEEDS = (1, 2)
SECONDS = 1800


def to_files(folder: Path) -> None:
    """Runs the workflow for each seed and leaves the pictures, the photos' faces and the layout in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ComfyServer() as server:
        print(f"A real ComfyUI runs the miniature workflow at {server.url}.", flush=True)
        for seed in SEEDS:
            graph = with_seed(shipped_graph(WORKFLOW), seed)
            started = time.monotonic()
            history = server.run(graph, SECONDS)
            loading = ", loading included" if seed == SEEDS[0] else ""
            print(f"{time.monotonic() - started:.1f} seconds{loading}.")
            for node in sorted(history["outputs"], key=int):
                show(server, history, node, graph[node]["_meta"]["title"], seed, folder)
    print(SAID)


def with_seed(graph: dict, seed: int) -> dict:
    graph[id_of(graph, "RandomNoise")]["inputs"]["noise_seed"] = seed
    return graph


def show(server: ComfyServer, history: dict, node: str, title: str, seed: int, folder: Path) -> None:
    """Prints what a node reported and copies the pictures it made."""
    for line in "\n".join(history["outputs"][node].get("text", ())).splitlines():
        print(f"  {title}: {line}")
    for number, file in enumerate(server.images(history, node), 1):
        path = folder / f"{title.lower().replace(' ', '_')}_{seed}_{number}{file.suffix}"
        shutil.copy(file, path)
        print(f"  {path}")


def in_browser() -> None:
    """Keeps the server running with the workflow among its saved ones, until interrupted."""
    with ComfyServer() as server:
        saved = server.base / f"user/default/workflows/{WORKFLOW}.json"
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(json.dumps(shipped_workflow(WORKFLOW)))
        print(f"ComfyUI runs at {server.url}; Ctrl-C ends it.")
        print(f"Sidebar, Workflows: {WORKFLOW} runs here. Templates, Extensions, withanyone: the others, which need")
        print("the real models.")
        print(SAID, flush=True)
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print()


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the images")
    parser.add_argument("--ui", action="store_true", help="open the server for a browser instead")
    choices = parser.parse_args()
    if choices.ui:
        in_browser()
    else:
        to_files(choices.out)


if __name__ == "__main__":
    main()
