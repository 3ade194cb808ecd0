"""Which image tokens a person's place covers.

A base model turns every square cell of the canvas (FLUX: 16 x 16 pixels) into one image token, row by row. A model call
may see only a part of the canvas (area conditioning), so cells are always asked for a `Grid`: the part that call sees.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..canvas import CELL_PX, BoxPx
from ..tolerance import SLACK
from .layout import Box, Mask, Region

# A mask that reaches exactly to the middle of a cell must not depend on how a sum is rounded.
_HALF = 0.5 - SLACK


@dataclass(frozen=True)
class Grid:
    """The cells of one model call: `columns` x `rows`, the first at (`left_px`, `top_px`) of the canvas.

    cell_px  side of a cell
    """

    columns: int
    rows: int
    canvas_width_px: int
    canvas_height_px: int
    left_px: int = 0
    top_px: int = 0
    cell_px: int = CELL_PX

    @property
    def is_whole(self) -> bool:
        """Whether the call sees the whole canvas."""
        # Not equal but at least: the last cell of a canvas that is no multiple of cells reaches beyond it.
        width_px, height_px = self.columns * self.cell_px, self.rows * self.cell_px
        return width_px >= self.canvas_width_px and height_px >= self.canvas_height_px


@dataclass(frozen=True)
class CellGroup:
    """Cells covered by exactly the same people: they share one softmax over all those people's tokens.

    people  indices of the people, ascending
    cells   int64 [cells], token indices (row * columns + column), ascending
    """

    people: tuple[int, ...]
    cells: Tensor


def box_cells(
    box_px: BoxPx, columns: int, rows: int, truncate_upper: bool = False, cell_px: int = CELL_PX
) -> tuple[int, int, int, int]:
    """(column0, row0, column1, row1) of the cells a box reaches into, upper ends exclusive (released checkpoint).

    The lower corner rounds down and the upper corner up to whole cells. `truncate_upper` first cuts a fractional upper
    corner to whole pixels, as the released face-edit program (Ke) does. A box outside the grid gives an empty range.
    """
    x1, y1, x2, y2 = box_px
    if truncate_upper:
        x2, y2 = int(x2), int(y2)
    # The released int(x1) // 8 // 2 and ceil(x2 / 8 / 2); dividing by powers of two is exact, so 16 at once is the
    # same.
    return (
        max(0, int(x1) // cell_px),
        max(0, int(y1) // cell_px),
        min(columns, math.ceil(x2 / cell_px)),
        min(rows, math.ceil(y2 / cell_px)),
    )


def region_cells(region: Region, grid: Grid, truncate_upper: bool = False) -> Tensor:
    """Membership of every cell of the grid, bool [rows * columns]."""
    if isinstance(region, Mask):
        return _mask_cells(region, grid)
    return _box_membership(region, grid, truncate_upper)


def cell_groups(regions: list[Region], grid: Grid, truncate_upper: bool = False) -> tuple[CellGroup, ...]:
    """Cells of the grid grouped by the set of people covering them; cells nobody covers are in no group."""
    if not regions:
        return ()
    members_NL = torch.stack([region_cells(region, grid, truncate_upper) for region in regions])
    # A column is a cell, so equal columns are cells covered by the same set of people.
    patterns_NP, pattern_of_cell_L = torch.unique(members_NL, dim=1, return_inverse=True)
    return tuple(
        CellGroup(
            people=tuple(pattern.nonzero().flatten().tolist()),
            cells=(pattern_of_cell_L == index).nonzero().flatten(),
        )
        for index, pattern in enumerate(patterns_NP.T)
        if pattern.any()
    )


def _box_membership(box: Box, grid: Grid, truncate_upper: bool) -> Tensor:
    x1, y1, x2, y2 = box.to_px(grid.canvas_width_px, grid.canvas_height_px)
    # Shifted before it is rounded to cells: the cells are those of the part that this call sees.
    seen = (x1 - grid.left_px, y1 - grid.top_px, x2 - grid.left_px, y2 - grid.top_px)
    column0, row0, column1, row1 = box_cells(seen, grid.columns, grid.rows, truncate_upper, grid.cell_px)
    members = torch.zeros(grid.rows, grid.columns, dtype=torch.bool)
    # The end of a box above or left of the grid is negative, which a slice would count from the last cell.
    members[row0 : max(row0, row1), column0 : max(column0, column1)] = True
    return members.flatten()


def _mask_cells(mask: Mask, grid: Grid) -> Tensor:
    """A cell belongs to a mask that covers at least half of its area."""
    height, width = mask.coverage.shape
    columns = _edges(grid.columns, grid.cell_px, grid.left_px, grid.canvas_width_px, width)
    rows = _edges(grid.rows, grid.cell_px, grid.top_px, grid.canvas_height_px, height)
    area = (rows[1:] - rows[:-1])[:, None] * (columns[1:] - columns[:-1])[None, :]
    # The integral at the cells' edges, which need not be whole mask pixels; its mixed difference is each cell's covered
    # area. In float64, because it sums over the whole mask.
    covered = _sums_up_to(_sums_up_to(mask.coverage.double(), rows, 0), columns, 1).diff(dim=0).diff(dim=1)
    # A cell beyond the canvas has no area, and 0 >= 0 would make everybody its owner.
    return ((covered >= _HALF * area) & (area > 0)).flatten()


def _edges(cells: int, cell_px: int, start_px: int, canvas_px: int, mask_size: int) -> Tensor:
    """Cell edges along one axis in mask pixels, float64 [cells + 1]; cells beyond the canvas have no extent."""
    edges_px = start_px + cell_px * torch.arange(cells + 1, dtype=torch.float64)
    return (edges_px * mask_size / canvas_px).clamp(0, mask_size)


def _sums_up_to(values: Tensor, edges: Tensor, dim: int) -> Tensor:
    """Integral of `values` along `dim` from 0 to each (fractional) edge."""
    sums = torch.cat([torch.zeros_like(values.narrow(dim, 0, 1)), values.cumsum(dim)], dim)
    # At the far end the edge is the size itself: the last value then counts whole (part = 1).
    lower = edges.floor().long().clamp(max=values.shape[dim] - 1)
    part = (edges - lower).reshape(-1, 1) if dim == 0 else edges - lower
    return sums.index_select(dim, lower) + part * values.index_select(dim, lower)
