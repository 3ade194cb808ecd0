"""A workflow being written: nodes under headings, in columns from left to right."""

from dataclasses import dataclass, field
from typing import Any

from .folding import Fold

Link = list  # [id of a node, number of its output]


@dataclass
class Node:
    """`node[0]` is the link that its first output gives to another node's input."""

    id: str
    kind: str
    title: str
    inputs: dict[str, Any]
    muted: bool

    def __getitem__(self, output: int) -> Link:
        return [self.id, output]


@dataclass
class Group:
    """A heading over columns of nodes; `row` 1 lies below all of row 0. A muted group's nodes do not run."""

    title: str
    colour: str
    row: int
    muted: bool
    columns: list[list[Node]] = field(default_factory=lambda: [[]])


@dataclass(frozen=True)
class Heading:
    """A heading of the folded workflow, over columns of titles of nodes and subgraphs."""

    title: str
    colour: str
    columns: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Folds:
    """How a workflow opens whose nodes are folded into subgraphs: these, under these headings."""

    subgraphs: tuple[Fold, ...]
    headings: tuple[Heading, ...]


@dataclass
class Draft:
    """Nodes are added to the last column, so they are numbered in the order of reading. `note` is Markdown.

    app  what app mode shows: (title, widget) of each input and title of each output; outside, if nodes are folded
    """

    note: str
    groups: list[Group] = field(default_factory=list)
    folds: Folds | None = None
    app: tuple[tuple[tuple[str, str], ...], tuple[str, ...]] = ((), ())

    def group(self, title: str, colour: str, row: int = 0, muted: bool = False) -> None:
        self.groups.append(Group(title, colour, row, muted))

    def column(self) -> None:
        self.groups[-1].columns.append([])

    def add(self, kind: str, title: str, **inputs: Any) -> Node:
        """A node; widgets that are not named keep the node's own defaults."""
        group = self.groups[-1]
        node = Node(str(len(self.nodes) + 1), kind, title, inputs, group.muted)
        group.columns[-1].append(node)
        return node

    @property
    def nodes(self) -> list[Node]:
        return [node for group in self.groups for column in group.columns for node in column]

    def api_graph(self) -> dict[str, Any]:
        return {
            node.id: {"inputs": node.inputs, "class_type": node.kind, "_meta": {"title": node.title}}
            for node in self.nodes
        }
