"""The shipped graphs, whole and cut down to what a test can afford."""

import copy
import json
from typing import Any

import numpy as np
from PIL import Image

from ..pack import ROOT
from .exchange import with_standins
from .queued import Graph, queued, unmuted

WORKFLOWS = ROOT / "example_workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def shipped_graph(name: str = "two_people") -> Graph:
    """What the page queues for a shipped workflow, but for what only the server at hand knows."""
    return queued(shipped_workflow(name))


def unmuted_graph(name: str) -> Graph:
    """The same with what the workflow ships muted."""
    return queued(unmuted(shipped_workflow(name)))


def shipped_workflow(name: str = "two_people") -> dict[str, Any]:
    """A shipped workflow as the browser opens it."""
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def upstream_of(graph: Graph, kind: str) -> Graph:
    """The nodes of a class and all that they need."""
    found: Graph = {}
    waiting = [name for name, node in graph.items() if node["class_type"] == kind]
    while waiting:
        name = waiting.pop()
        found[name] = graph[name]
        waiting += [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
    return found


def node_of(graph: Graph, kind: str, index: int = 0) -> dict[str, Any]:
    """The inputs of the first (or a later) node of a class."""
    return [node["inputs"] for node in graph.values() if node["class_type"] == kind][index]


def id_of(graph: Graph, kind: str) -> str:
    return next(name for name, node in graph.items() if node["class_type"] == kind)


def small_graph(size_px: int = 256, steps: int = 3, seed: int = 1, resemblance: float = 0.5) -> Graph:
    """The two-person graph with stand-ins on a small canvas."""
    graph = with_standins(shipped_graph())
    node_of(graph, "WithAnyoneLayout").update(width=size_px, height=size_px)
    node_of(graph, "WithAnyoneScheduler").update(steps=steps)
    node_of(graph, "RandomNoise").update(noise_seed=seed)
    node_of(graph, "WithAnyoneApply").update(resemblance=resemblance)
    return graph


def with_boxes(graph: Graph, *boxes: tuple[int, int, int, int]) -> Graph:
    changed = copy.deepcopy(graph)
    text = "\n".join(",".join(map(str, box)) for box in boxes)
    node_of(changed, "WithAnyoneLayout").update(boxes=text)
    return changed


def switched_off(graph: Graph) -> Graph:
    """The same graph with both branches at weight 0, which is the base model."""
    changed = copy.deepcopy(graph)
    node_of(changed, "WithAnyoneApply").update(id_weight=0.0, siglip_weight=0.0)
    return changed


def pixels(path: str) -> np.ndarray:
    """An image file as float32 [H, W, 3] in 0..255."""
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float32)
