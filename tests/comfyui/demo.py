"""Runs the shipped two-person workflow in a real ComfyUI with stand-in models; see demo.sh."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import load_pack

load_pack()

from withanyone_pack.tests.comfyui.exchange import with_standins, workflow_with_standins
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import shipped_graph, shipped_workflow

STANDIN = (
    "The weights of FLUX, its text encoders, the adapter and SigLIP are small random stand-ins, "
    "so the picture shows no likeness; the photographs, the faces found in them and every node are real."
)
SECONDS = 1800


def to_files(folder: Path) -> None:
    """Runs the workflow and leaves its picture, the layout and the faces it used in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = with_standins(shipped_graph())
    with ComfyServer() as server:
        print(f"A real ComfyUI runs the two-person workflow at {server.url}. This takes a minute or two.", flush=True)
        started = time.monotonic()
        history = server.run(graph, SECONDS)
        print(f"Done in {time.monotonic() - started:.0f} seconds.")
        for node, output in sorted(history["outputs"].items(), key=lambda item: int(item[0])):
            for line in output.get("text", ()):
                print(f"  {graph[node]['_meta']['title']}: {line}")
            for file in server.images(history, node):
                title = graph[node]["_meta"]["title"].lower().replace(" ", "_")
                shutil.copy(file, folder / f"standin_{title}{file.suffix}")
                print(f"  {folder / f'standin_{title}{file.suffix}'}")
    print(STANDIN)


def in_browser() -> None:
    """Keeps the server running with the workflow among its saved ones, until interrupted."""
    with ComfyServer() as server:
        saved = server.base / "user/default/workflows/two_people_standin.json"
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(json.dumps(workflow_with_standins(shipped_workflow())))
        print(f"ComfyUI runs at {server.url}; Ctrl-C ends it.")
        print("Sidebar, Workflows: two_people_standin runs here. Templates, Extensions, withanyone: the shipped one,")
        print("which needs the real models.")
        print(STANDIN, flush=True)
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
