"""The shipped graph, whole and cut down to what a test can afford."""

import copy
import json
from typing import Any

import numpy as np
from PIL import Image

from ..pack import ROOT
from .exchange import with_standins

SHIPPED = ROOT / "tests/comfyui/two_people_api.json"
Graph = dict[str, dict[str, Any]]


def shipped_graph() -> Graph:
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


def node_of(graph: Graph, kind: str, index: int = 0) -> dict[str, Any]:
    """The inputs of the first (or a later) node of a class."""
    return [node["inputs"] for node in graph.values() if node["class_type"] == kind][index]


def id_of(graph: Graph, kind: str) -> str:
    return next(name for name, node in graph.items() if node["class_type"] == kind)


def small_graph(size_px: int = 256, steps: int = 3, seed: int = 1, resemblance: float = 0.5) -> Graph:
    """The shipped graph with stand-ins on a small canvas."""
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
