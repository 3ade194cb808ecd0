"""Who owns which image tokens, and who shares some."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from .cells import Grid, region_cells
from .layout import PlacedFace


@dataclass(frozen=True)
class Overlap:
    """Two people in the same cells.

    first, second        indices of the people
    cells                how many cells both own
    of_first, of_second  which part of each one's cells that is, 0 to 1
    """

    first: int
    second: int
    cells: int
    of_first: float
    of_second: float


def owned_cells(faces: Sequence[PlacedFace], grid: Grid) -> Tensor:
    """Membership of every cell, bool [people, rows * columns]; somebody of weight 0 owns none."""
    rows = [region_cells(face.region, grid) & (face.weight > 0) for face in faces]
    return torch.stack(rows) if rows else torch.zeros(0, grid.rows * grid.columns, dtype=torch.bool)


def overlaps(members_PL: Tensor) -> tuple[Overlap, ...]:
    """Every pair of people that shares cells, in the order of the people."""
    counts = members_PL.sum(1).tolist()
    found = []
    for first, second in combinations(range(len(counts)), 2):
        shared = int((members_PL[first] & members_PL[second]).sum())
        if shared:
            # Neither count is 0 here: each includes the shared cells.
            found.append(Overlap(first, second, shared, shared / counts[first], shared / counts[second]))
    return tuple(found)


def labels(faces: Sequence[PlacedFace]) -> list[str]:
    """What each person is called in images and texts: number in the chain, from 1, and name."""
    # A line break inside a name would break the list of one person a line.
    return [f"{number} {' '.join(face.identity.name.split())}" for number, face in enumerate(faces, start=1)]


def place_text(face: PlacedFace, cells: int) -> str:
    """Where somebody stands and with how many cells."""
    place = "mask" if face.box_number is None else f"box {face.box_number}"
    if face.weight == 0:
        return f"{place}, left out (weight 0)"
    owned = f"{cells} cell{'' if cells == 1 else 's'}" if cells else "no cell: will not appear"
    when = "" if face.window.is_always else f", {face.window.start:.0%} to {face.window.end:.0%} of the steps"
    return f"{place}, {owned}" + ("" if face.weight == 1 else f", weight {face.weight:g}") + when


def overlap_lines(faces: Sequence[PlacedFace], members_PL: Tensor) -> list[str]:
    """A line for each pair that shares cells, with the part of each one's cells."""
    names = labels(faces)
    return [
        f"{names[pair.first]} ({pair.of_first:.0%}) and {names[pair.second]} ({pair.of_second:.0%}) share "
        f"{pair.cells} cell{'' if pair.cells == 1 else 's'}"
        for pair in overlaps(members_PL)
    ]


def ownership_text(faces: Sequence[PlacedFace], grid: Grid) -> str:
    """Everybody's place and every overlap, one a line."""
    members_PL = owned_cells(faces, grid)
    lines = [
        f"{label}: {place_text(face, int(cells.sum()))}"
        for label, face, cells in zip(labels(faces), faces, members_PL, strict=True)
    ]
    shared = overlap_lines(faces, members_PL)
    canvas = f"{grid.columns * grid.rows} cells of 16 pixels on a {grid.canvas_width_px}x{grid.canvas_height_px} canvas"
    return "\n".join([canvas, *lines, *(shared or ["Nobody overlaps."])])
