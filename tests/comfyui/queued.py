"""What the page queues for a workflow file, worked out without a page.

The files keep what the page saved. What a server asks for beyond that, because its nodes have gained inputs since, the
page takes from that server's defaults; `completed` does the same.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

ALWAYS = 0  # LiteGraph's mode of a node that runs
INPUTS, OUTPUTS = -10, -20  # the ids of a subgraph's own ends, seen from inside
SEEDS = ("seed", "noise_seed")  # the page keeps a second value beside these: what happens to them after a run
NOTES = ("Note", "MarkdownNote")
BUTTON = "IMAGEUPLOAD"

Graph = dict[str, dict[str, Any]]
Node = Mapping[str, Any]
Source = tuple[str, int] | None  # an output: node and slot


class Level:
    """The nodes and links of a workflow or of one subgraph in it; `prefix` stands before the ids of its nodes."""

    def __init__(self, content: Mapping[str, Any], file: Mapping[str, Any], prefix: str, outer: "Outside") -> None:
        self.nodes = {node["id"]: node for node in content["nodes"]}
        self.links = {link[0]: link[1:3] for link in map(as_list, content["links"])}
        self.outputs = [[as_list(content_link(content, key))[1:3] for key in end["linkIds"]] for end in ends(content)]
        self.definitions = {one["id"]: one for one in file.get("definitions", {}).get("subgraphs", ())}
        self.file, self.prefix, self.outer = file, prefix, outer

    def graph(self) -> Graph:
        found: Graph = {}
        for node in self.nodes.values():
            if node["mode"] != ALWAYS or node["type"] in NOTES:
                continue
            inner = self.inside(node)
            if inner:
                found |= inner.graph()
            else:
                found[f"{self.prefix}{node['id']}"] = self.entry(node)
        return found

    def entry(self, node: Node) -> dict[str, Any]:
        inputs = dict(widgets(node))
        for number, socket in enumerate(node["inputs"]):
            linked = self.linked(node, number)
            if linked is not None:
                inputs[socket["name"]] = linked
        return {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node.get("title") or node["type"]}}

    def inside(self, node: Node) -> "Level | None":
        content = self.definitions.get(node["type"])
        return content and Level(content, self.file, f"{self.prefix}{node['id']}:", Outside(self, node))

    def linked(self, node: Node, number: int) -> Any:
        """What comes into an input through its link: [id, slot], or a widget's value of the subgraph around."""
        link = node["inputs"][number]["link"]
        return None if link is None else self.value(*self.links[link])

    def value(self, origin: int, slot: int) -> Any:
        if origin == INPUTS:
            return self.outer.value(slot)
        node = self.nodes[origin]
        if node["mode"] != ALWAYS:
            return None
        inner = self.inside(node)
        return inner.value(*inner.outputs[slot][0]) if inner else [f"{self.prefix}{origin}", slot]


class Outside:
    """A subgraph's node, seen from inside it."""

    def __init__(self, level: Level | None = None, node: Node | None = None) -> None:
        self.level, self.node = level, node

    def value(self, slot: int) -> Any:
        linked = self.level.linked(self.node, slot)
        return dict(widgets(self.node)).get(self.node["inputs"][slot]["name"]) if linked is None else linked


def widgets(node: Node) -> Iterator[tuple[str, Any]]:
    """Names and values of a node's widgets."""
    values = iter(node.get("widgets_values") or ())
    for socket in node["inputs"]:
        if "widget" not in socket:
            continue
        value = next(values, None)
        if socket["name"] in SEEDS:
            next(values, None)
        if socket["type"] != BUTTON and value is not None:
            yield socket["name"], value


def ends(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return content.get("outputs", [])


def content_link(content: Mapping[str, Any], key: int) -> Any:
    return next(link for link in content["links"] if as_list(link)[0] == key)


def as_list(link: Any) -> list[Any]:
    """Subgraphs keep links as objects, workflows as lists: id, origin, its slot, and so on."""
    return [link["id"], link["origin_id"], link["origin_slot"]] if isinstance(link, Mapping) else link


def queued(workflow: Mapping[str, Any]) -> Graph:
    """The API graph of a workflow file. Muted nodes are left out, and what is in subgraphs stands at the top."""
    return Level(workflow, workflow, "", Outside()).graph()


def unmuted(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """The same workflow with everything switched on."""
    changed = copy.deepcopy(dict(workflow))
    for node in changed["nodes"]:
        node["mode"] = ALWAYS
    return changed


def completed(graph: Mapping[str, Mapping[str, Any]], nodes: Mapping[str, Any]) -> Graph:
    """The graph with this server's default for each required widget that the graph does not name.

    nodes  the server's /object_info
    """
    whole = copy.deepcopy(dict(graph))
    for node in whole.values():
        required = nodes.get(node["class_type"], {}).get("input", {}).get("required", {})
        for name, description in required.items():
            default = default_of(description)
            if name not in node["inputs"] and default is not None:
                node["inputs"][name] = default
    return whole


def default_of(description: list[Any]) -> Any:
    """What the page writes into a new widget; None for a socket."""
    kind, options = description[0], description[1] if len(description) > 1 else {}
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    return choices[0] if choices else None
