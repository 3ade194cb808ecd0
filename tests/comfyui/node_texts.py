"""The texts of the nodes as a server returns them, in the form of locales/LANGUAGE/nodeDefs.json.

    .testbed/venv/bin/python tests/comfyui/node_texts.py

rebuilds locales/en/nodeDefs.json from the nodes themselves. Other languages are written by hand.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import ROOT, load_pack

load_pack()

from withanyone_pack.tests.comfyui.server import ComfyServer

LOCALES = ROOT / "locales"
PREFIX = "WithAnyone"

Texts = dict[str, Any]


def pack_texts(object_info: Mapping[str, Mapping[str, Any]]) -> dict[str, Texts]:
    """The texts of every node of the pack, by its id, out of what /object_info answers."""
    return {name: node_texts(node) for name, node in sorted(object_info.items()) if name.startswith(PREFIX)}


def node_texts(node: Mapping[str, Any]) -> Texts:
    given = node["input"].get("required", {}) | node["input"].get("optional", {})
    texts = {"display_name": node["display_name"], "description": node["description"]}
    texts["inputs"] = {name: input_texts(name, *kind[1:]) for name, kind in given.items()}
    tooltips = node.get("output_tooltips") or [None] * len(node["output_name"])
    texts["outputs"] = {
        str(number): named(name, tooltip)
        for number, (name, tooltip) in enumerate(zip(node["output_name"], tooltips, strict=True))
    }
    return {key: value for key, value in texts.items() if value}


def input_texts(name: str, options: Mapping[str, Any] | None = None) -> Texts:
    options = options or {}
    return named(options.get("display_name") or name, options.get("tooltip"))


def named(name: str, tooltip: str | None) -> Texts:
    return {"name": name, "tooltip": tooltip} if tooltip else {"name": name}


def stored_texts(language: str, file: str = "nodeDefs") -> Texts:
    return json.loads((LOCALES / language / f"{file}.json").read_text(encoding="utf-8"))


def main() -> None:
    with ComfyServer() as server:
        texts = pack_texts(server.object_info())
    text = json.dumps(texts, indent=2, ensure_ascii=False) + "\n"
    (LOCALES / "en" / "nodeDefs.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
