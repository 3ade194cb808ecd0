"""Folding nodes of a workflow into subgraphs, in the form the frontend saves.

A subgraph's inputs are the links that come in, then the widgets that are shown outside; its outputs the links that
leave.
Values stay where they are, in the nodes inside: a subgraph's node shows them and keeps none of its own.
"""

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

INPUTS, OUTPUTS = -10, -20  # the ids of a subgraph's own ends
END_WIDTH, SLOT_HEIGHT, APART = 160, 20, 60
IMAGE = "$$canvas-image-preview"  # the frontend's name for a node's images, shown outside as a widget is

Content = dict[str, Any]


@dataclass(frozen=True)
class Fold:
    """Nodes by their titles, in columns, which become one.

    outside   widgets shown on the subgraph's node: (title of the node inside, widget), as a rule by the widget's name
    names     other names of the subgraph's inputs: for a link the target's (title, input)
    images  titles of nodes whose images the subgraph's node shows
    about     a sentence for the library of blueprints
    """

    title: str
    columns: tuple[tuple[str, ...], ...]
    about: str
    outside: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str, str], ...] = ()
    images: tuple[str, ...] = ()

    @property
    def titles(self) -> list[str]:
        return [title for column in self.columns for title in column]


def folded(workflow: Content, fold: Fold) -> Content:
    """The workflow with these nodes in a subgraph; returns the subgraph's node. The inner nodes keep ids and places."""
    return _Folding(workflow, fold).done()


class _Folding:
    def __init__(self, workflow: Content, fold: Fold) -> None:
        self.workflow, self.fold = workflow, fold
        by_title = {node.get("title"): node for node in workflow["nodes"]}
        self.inside = {by_title[title]["id"]: by_title[title] for title in fold.titles}
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.by_title = by_title
        self.id = workflow["last_node_id"] + 1
        self.kind = str(uuid5(NAMESPACE_URL, f"withanyone/{fold.title}"))
        self.names = {(title, socket): name for title, socket, name in fold.names}
        self.links: list[Content] = []
        self.inputs: list[Content] = []
        self.outputs: list[Content] = []
        self.node_inputs: list[Content] = []
        self.node_outputs: list[Content] = []

    def done(self) -> Content:
        came: dict[tuple[int, int], int] = {}
        left: dict[tuple[int, int], int] = {}
        kept = []
        for link in self.workflow["links"]:
            number, origin, slot, target, place, kind = link
            if origin in self.inside and target in self.inside:
                self.links.append(_inner(number, origin, slot, target, place, kind))
            elif target in self.inside:
                kept += self.incoming(link, came)
            elif origin in self.inside:
                kept.append(self.outgoing(link, left))
            else:
                kept.append(link)
        for title, widget in self.fold.outside:
            self.show(title, widget)
        self.workflow["links"] = kept
        self.workflow["nodes"] = [node for node in self.workflow["nodes"] if node["id"] not in self.inside]
        node = self.node()
        self.workflow["nodes"].append(node)
        self.workflow["last_node_id"] = self.id
        self.workflow.setdefault("definitions", {"subgraphs": []})["subgraphs"].append(self.definition())
        self.repair_sockets()
        return node

    def incoming(self, link: list[Any], came: dict[tuple[int, int], int]) -> list[list[Any]]:
        number, origin, slot, target, place, kind = link
        inner = self.inside[target]["inputs"][place]
        if (origin, slot) in came:  # the same source a second time: only inside
            self.links.append(_inner(number, INPUTS, came[origin, slot], target, place, kind))
            self.inputs[came[origin, slot]]["linkIds"].append(number)
            return []
        place_outside = came[origin, slot] = len(self.inputs)
        name = self.names.get((self.inside[target].get("title"), inner["name"]), inner["name"])
        fresh = self.new_link()
        self.links.append(_inner(fresh, INPUTS, place_outside, target, place, kind))
        inner["link"] = fresh
        self.inputs.append(self.end(name, kind, [fresh]))
        self.node_inputs.append({"name": name, "type": kind, "link": number})
        return [[number, origin, slot, self.id, place_outside, kind]]

    def outgoing(self, link: list[Any], left: dict[tuple[int, int], int]) -> list[Any]:
        number, origin, slot, target, place, kind = link
        inner = self.inside[origin]["outputs"][slot]
        if (origin, slot) not in left:
            left[origin, slot] = len(self.outputs)
            fresh = self.new_link()
            self.links.append(_inner(fresh, origin, slot, OUTPUTS, left[origin, slot], kind))
            self.outputs.append(self.end(inner["name"], kind, [fresh]))
            self.node_outputs.append({"name": inner["name"], "type": kind, "links": []})
        self.node_outputs[left[origin, slot]]["links"].append(number)
        return [number, self.id, left[origin, slot], target, place, kind]

    def show(self, title: str, widget: str) -> None:
        node = self.by_title[title]
        place, inner = next((i, one) for i, one in enumerate(node["inputs"]) if one["name"] == widget)
        name = self.names.get((title, widget), widget)
        fresh = self.new_link()
        self.links.append(_inner(fresh, INPUTS, len(self.inputs), node["id"], place, inner["type"]))
        inner["link"] = fresh
        self.inputs.append(self.end(name, inner["type"], [fresh]))
        self.node_inputs.append({"name": name, "type": inner["type"], "widget": {"name": name}, "link": None})

    def new_link(self) -> int:
        self.workflow["last_link_id"] += 1
        return self.workflow["last_link_id"]

    def end(self, name: str, kind: str, links: list[int]) -> Content:
        key = f"{self.kind}/{name}/{len(self.inputs)}/{len(self.outputs)}"
        return {"id": str(uuid5(NAMESPACE_URL, key)), "name": name, "type": kind, "linkIds": links}

    def repair_sockets(self) -> None:
        """Outputs inside list the links that leave them there."""
        for node in self.inside.values():
            for slot, output in enumerate(node.get("outputs") or ()):
                output["links"] = [
                    link["id"] for link in self.links if (link["origin_id"], link["origin_slot"]) == (node["id"], slot)
                ]
        number = {link[0] for link in self.workflow["links"]}
        for node in self.workflow["nodes"]:
            for output in node.get("outputs") or ():
                output["links"] = [link for link in output.get("links") or () if link in number]

    def node(self) -> Content:
        shown = [[str(self.by_title[title]["id"]), widget] for title, widget in self.fold.outside]
        shown += [[str(self.by_title[title]["id"]), IMAGE] for title in self.fold.images]
        return {
            "id": self.id,
            "type": self.kind,
            "title": self.fold.title,
            "pos": [0, 0],
            "size": [
                330,
                60 + 30 * max(len(self.node_inputs), len(self.node_outputs)) + 200 * bool(self.fold.images),
            ],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": self.node_inputs,
            "outputs": self.node_outputs,
            "properties": {"proxyWidgets": shown},
            "widgets_values": [],
        }

    def definition(self) -> Content:
        left = min(node["pos"][0] for node in self.inside.values())
        right = max(node["pos"][0] + node["size"][0] for node in self.inside.values())
        top = min(node["pos"][1] for node in self.inside.values())
        for x, ends in ((left - APART - END_WIDTH, self.inputs), (right + APART, self.outputs)):
            for place, end in enumerate(ends):
                end["pos"] = [x + END_WIDTH / 2, top + SLOT_HEIGHT * (1 + place)]
        return {
            "id": self.kind,
            "version": 1,
            "state": {
                "lastGroupId": 0,
                "lastNodeId": self.id,
                "lastLinkId": self.workflow["last_link_id"],
                "lastRerouteId": 0,
            },
            "revision": 0,
            "config": {},
            "name": self.fold.title,
            "description": self.fold.about,
            "category": "WithAnyone",
            "inputNode": {"id": INPUTS, "bounding": _bounding(left - APART - END_WIDTH, top, self.inputs)},
            "outputNode": {"id": OUTPUTS, "bounding": _bounding(right + APART, top, self.outputs)},
            "inputs": self.inputs,
            "outputs": self.outputs,
            "widgets": [],
            "nodes": list(self.inside.values()),
            "groups": [],
            "links": self.links,
            "extra": {},
        }


def _inner(number: int, origin: int, slot: int, target: int, place: int, kind: str) -> Content:
    return {
        "id": number,
        "origin_id": origin,
        "origin_slot": slot,
        "target_id": target,
        "target_slot": place,
        "type": kind,
    }


def _bounding(x: float, top: float, ends: list[Content]) -> list[float]:
    return [x, top, END_WIDTH, SLOT_HEIGHT * (2 + len(ends))]


def blueprint(workflow: Content, title: str) -> Content:
    """A subgraph of a workflow by itself, as ComfyUI's library of blueprints holds it."""
    definition = next(one for one in workflow["definitions"]["subgraphs"] if one["name"] == title)
    node = next(node for node in workflow["nodes"] if node["type"] == definition["id"])
    alone = node | {
        "pos": [0, 0],
        "inputs": [socket | {"link": None} for socket in node["inputs"]],
        "outputs": [socket | {"links": []} for socket in node["outputs"]],
    }
    return {
        "revision": 0,
        "last_node_id": node["id"],
        "last_link_id": 0,
        "nodes": [alone],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {},
    }
