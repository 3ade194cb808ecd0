"""What the registry and users see of every node: its id, its words, and a tooltip for everything that can be set."""

import asyncio
import json
import re

import pytest
from withanyone_pack.tests.pack import COMFYUI, ROOT, add_comfyui

add_comfyui()

from withanyone_pack.nodes.extension import WithAnyoneExtension
from withanyone_pack.tests.test_registry import OLDER_PORT

NODES = asyncio.run(WithAnyoneExtension().get_node_list())
SCHEMAS = [node.define_schema() for node in NODES]
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def test_ids_are_ours_and_unique():
    ids = [schema.node_id for schema in SCHEMAS]
    assert all(re.fullmatch(r"WithAnyone[A-Z]\w*", node_id) for node_id in ids)
    assert len(set(ids)) == len(ids)
    assert not set(ids) & OLDER_PORT


def test_no_id_or_name_is_one_of_comfyui_s_own():
    text = "\n".join(path.read_text(encoding="utf-8") for path in (COMFYUI / "comfy_extras").glob("*.py"))
    text += (COMFYUI / "nodes.py").read_text(encoding="utf-8")
    for schema in SCHEMAS:
        assert f'"{schema.node_id}"' not in text
    names = [schema.display_name for schema in SCHEMAS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)
def test_every_node_is_described(schema):
    assert schema.display_name
    assert schema.category in ("WithAnyone", "WithAnyone/miniature")
    assert 10 < len(schema.description) < 300
    assert schema.description.endswith((".", "!"))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)
def test_every_widget_has_a_tooltip_and_every_socket_a_name(schema):
    for entry in schema.inputs:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.id)
        if entry.get_io_type() in WIDGETS:
            assert len(entry.tooltip or "") > 10, f"{entry.id} has no tooltip"
    names = [output.display_name for output in schema.outputs]
    assert all(names)
    assert len(set(names)) == len(names)


def test_workflows_use_nodes_that_are_there():
    known = {schema.node_id for schema in SCHEMAS}
    used = {path.name: ours_in(path) for path in (ROOT / "example_workflows").glob("*.json")}
    assert used
    assert [name for name, ours in used.items() if not ours] == []
    assert {name: ours - known for name, ours in used.items() if ours - known} == {}


def ours_in(path):
    """The types of this pack's nodes in a workflow, subgraphs included."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    subgraphs = workflow.get("definitions", {}).get("subgraphs", ())
    used = {node["type"] for graph in (workflow, *subgraphs) for node in graph["nodes"]}
    return {node_id for node_id in used if node_id.startswith("WithAnyone")}
