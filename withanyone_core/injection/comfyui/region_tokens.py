"""Which image tokens are served together: the fewer attention calls, the less a step costs.

Cells covered by the same people are a run. Runs of one person each that are about equally long go into one call; the
shorter ones are filled up with copies of a cell, whose results are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ...regions.cells import CellGroup

People = tuple[int, ...]
ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Group:
    """Runs that one attention call serves.

    people  of each run; where there are several runs, each has one person, and these follow each other
    size    tokens of all of them together
    """

    people: tuple[People, ...]
    size: int


@dataclass(frozen=True, eq=False)
class RegionTokens:
    """The image tokens inside people's regions: gathered from the stream, attended, put back.

    cells   int64 [S]: the tokens that are read, those filled up with included, on the stream's device
    kept    int64: which of the S are written back; None where nothing was filled up
    groups  in the order of the cells
    rows    of the batch that they are read from and written to: those that see the same part of the canvas
    """

    cells: Tensor
    kept: Tensor | None
    groups: tuple[Group, ...]
    rows: slice

    @cached_property
    def sizes(self) -> list[int]:
        return [group.size for group in self.groups]

    @cached_property
    def people(self) -> set[int]:
        return {person for group in self.groups for people in group.people for person in people}

    def in_rows(self, rows: slice) -> "RegionTokens":
        return replace(self, rows=rows)


def group_tokens(runs: Sequence[CellGroup], tokens: Sequence[tuple[int, ...]], device: torch.device) -> RegionTokens:
    """Runs as they are served, in all rows. `tokens` has each person's number of tokens in every branch."""
    batches: list[list[CellGroup]] = []
    # One person each first, by number: neighbours' keys and values lie side by side, so that their runs may be joined.
    for run in sorted(runs, key=lambda run: (len(run.people), run.people)):
        if batches and _fits(batches[-1], run, tokens):
            batches[-1].append(run)
        else:
            batches.append([run])
    longest = [max(len(run.cells) for run in batch) for batch in batches]
    filled = [_filled(run.cells, size) for batch, size in zip(batches, longest, strict=True) for run in batch]
    real = [torch.arange(len(cells)) < count for cells, count in filled]
    cells = torch.cat([cells for cells, _ in filled]) if filled else torch.empty(0, dtype=torch.int64)
    groups = tuple(
        Group(tuple(run.people for run in batch), size * len(batch))
        for batch, size in zip(batches, longest, strict=True)
    )
    kept = None if all(each.all() for each in real) else torch.cat(real).nonzero().flatten().to(device)
    return RegionTokens(cells.to(device), kept, groups, ALL_ROWS)


def _filled(cells: Tensor, size: int) -> tuple[Tensor, int]:
    return torch.cat([cells, cells[-1:].expand(size - len(cells))]), len(cells)


def _fits(batch: Sequence[CellGroup], run: CellGroup, tokens: Sequence[tuple[int, ...]]) -> bool:
    """Whether a run joins a call without filling up more than a quarter of it."""
    before = batch[-1].people
    if len(before) != 1 or len(run.people) != 1 or run.people[0] != before[0] + 1:
        return False
    sizes = [len(each.cells) for each in (*batch, run)]
    return tokens[before[0]] == tokens[run.people[0]] and 4 * min(sizes) >= 3 * max(sizes)
