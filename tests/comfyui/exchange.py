"""The one table that turns a shipped workflow into one that runs on two processor cores."""

import copy
from collections.abc import Mapping
from typing import Any

# Loader of a shipped workflow: what stands in for it, and that node's inputs.
# Adapters, SigLIP and LoRAs are read by their real loaders, from small files of the shipped names.
STANDINS: dict[str, tuple[str, dict[str, Any]]] = {
    "UNETLoader": ("StandinFlux", {"weights_seed": 1}),
    "DualCLIPLoader": ("StandinCLIP", {"weights_seed": 2}),
    "VAELoader": ("StandinVAE", {"weights_seed": 3}),
    "WithAnyoneLoadFaceAnalysis": ("StandinFaceAnalysis", {}),
}


def with_standins(graph: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """An API graph with its large loaders exchanged; every other node, link and value is as it was."""
    exchanged = copy.deepcopy(dict(graph))
    for node in exchanged.values():
        if node["class_type"] in STANDINS:
            node["class_type"], inputs = STANDINS[node["class_type"]]
            node["inputs"] = dict(inputs)
    return exchanged
