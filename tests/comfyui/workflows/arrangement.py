"""Where the nodes of a workflow lie, how they look, and what its file says about models and packs."""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import tomllib

from ...pack import ROOT
from .draft import Draft, Folds, Group
from .folding import folded
from .parts import FILES

WIDTH, TITLE, GAP = 330, 30, 20
HEADING = 80
ROOM = {  # heights of nodes that show an image or take a long text
    "LoadImage": 400,
    "PreviewAny": 200,
    "PreviewImage": 400,
    "SaveImage": 400,
    "CLIPTextEncode": 210,
    "WithAnyoneFaceLayout": 500,
    "WithAnyoneIdentityFromPhotos": 400,
    "WithAnyoneIdentityMeter": 460,
    "WithAnyoneLayout": 400,
    "WithAnyoneLayoutFromImage": 480,
    "WithAnyoneLoadIdentity": 400,
    "WithAnyoneMiniaturePhotos": 400,
    "WithAnyonePrepareFaceEdit": 460,
    "WithAnyonePreviewFaces": 430,
    # subgraphs, by their titles
    "Two people": 240,
    "Sampling as released": 460,
    "Measuring": 500,
    "Measure any image": 620,
    "WithAnyoneSaveIdentity": 400,
}
OUR_COLOUR = {"color": "#233", "bgcolor": "#355"}
MUTED = 2  # LiteGraph's mode of a node that does not run
LINE_PX, LINE_LETTERS = 17, 52  # of a note

Nodes = dict[str, dict[str, Any]]


def finished(name: str, draft: Draft, workflow: dict[str, Any]) -> dict[str, Any]:
    """The frontend's workflow with model addresses, colours, the note, and everything in its place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    note_id = len(draft.nodes) + 1
    workflow["nodes"].append(note(note_id, draft.note))
    workflow["last_node_id"] = note_id
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    for drawn in draft.nodes:
        node = nodes[drawn.id]
        node["title"] = drawn.title
        if drawn.kind.startswith("WithAnyone"):
            node |= OUR_COLOUR
            node["properties"] |= {"cnr_id": project["name"], "ver": project["version"]}
        if files := [value for value in drawn.inputs.values() if isinstance(value, str) and value in FILES]:
            node["properties"]["models"] = [model(file) for file in files]
        if drawn.muted:
            node["mode"] = MUTED
        if "randomize" in node.get("widgets_values", ()):
            node["widgets_values"][1] = "fixed"
    if draft.folds:
        workflow["groups"] = fold_all(workflow, draft.folds)
    else:
        workflow["groups"] = set_out(columns(draft, str(note_id)), nodes)
    workflow["id"] = str(uuid5(NAMESPACE_URL, f"{project['name']}/{name}"))
    workflow["extra"] = app_mode(workflow, draft)
    return workflow


def fold_all(workflow: dict[str, Any], folds: Folds) -> list[dict[str, Any]]:
    """Puts nodes into subgraphs and sets out what is in each and what is left; the groups around the latter."""
    for fold in folds.subgraphs:
        by_title = {node["title"]: node for node in workflow["nodes"]}
        x = 0
        for column in fold.columns:
            set_out_column([by_title[title] for title in column], x, 0)
            x += WIDTH + 2 * GAP
        folded(workflow, fold)
    by_title = {node["title"]: node for node in workflow["nodes"]}
    drawn = [
        (Group(heading.title, heading.colour, 0, False), [list(column) for column in heading.columns])
        for heading in folds.headings
    ]
    return set_out(drawn, by_title)


def app_mode(workflow: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """What app mode shows of the workflow; it still opens as a graph."""
    inputs, outputs = draft.app
    ids = {node["title"]: node["id"] for node in workflow["nodes"]}
    if not outputs:
        return {}
    return {
        "linearData": {
            "inputs": [[str(ids[title]), widget] for title, widget in inputs],
            "outputs": [str(ids[title]) for title in outputs],
        }
    }


def model(file: str) -> dict[str, str]:
    url, directory = FILES[file]
    return {"name": file, "url": url, "directory": directory}


def note(number: int, text: str) -> dict[str, Any]:
    lines = sum(1 + len(line) // LINE_LETTERS for line in text.splitlines())
    return {
        "id": number,
        "type": "MarkdownNote",
        "title": "Read me",
        "pos": [0, 0],
        "size": [WIDTH, 40 + LINE_PX * lines],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#653",
    }


def columns(draft: Draft, note_id: str) -> list[tuple[Group, list[list[str]]]]:
    """Each group with the ids in its columns; the note is the last of the first row."""
    drawn = [(group, [[node.id for node in column] for column in group.columns]) for group in draft.groups]
    last = [group for group, _ in drawn if group.row == 0][-1]
    next(ids for group, ids in drawn if group is last)[-1].append(note_id)
    return drawn


def set_out(drawn: list[tuple[Group, list[list[str]]]], nodes: Nodes) -> list[dict[str, Any]]:
    """Places the nodes and returns the groups around them, all of a row equally high."""
    groups, y = [], 0
    for row in range(1 + max(group.row for group, _ in drawn)):
        members = [(group, ids) for group, ids in drawn if group.row == row]
        new, height = set_out_row(members, nodes, y)
        groups += new
        y += height + HEADING + 3 * GAP
    for number, group in enumerate(groups, 1):
        group |= {"id": number, "font_size": 24, "flags": {}}
    return groups


def set_out_row(
    members: list[tuple[Group, list[list[str]]]], nodes: Nodes, top: int
) -> tuple[list[dict[str, Any]], int]:
    """The groups of one row, and its height below `top`, where the first nodes begin."""
    groups, x, height = [], 0, 0
    for group, ids in members:
        left = x
        for column in ids:
            height = max(height, set_out_column([nodes[name] for name in column], x, top))
            x += WIDTH + 2 * GAP
        groups.append(
            {"title": group.title, "bounding": [left - GAP, top - HEADING, x - left, 0], "color": group.colour}
        )
        x += GAP
    for group in groups:
        group["bounding"][3] = height + HEADING + GAP
    return groups, height


def set_out_column(nodes: list[dict[str, Any]], x: int, top: int) -> int:
    """The height of these nodes one below the other, without the last one's gap."""
    y = top
    for node in nodes:
        node["pos"] = [x, y]
        height = ROOM.get(node["type"], ROOM.get(node["title"], 0))
        node["size"] = [WIDTH, max(node["size"][1], height)]
        y += node["size"][1] + TITLE + GAP
    return y - TITLE - GAP - top
