"""The people of a training batch and the image tokens they are seen by.

Letters in tensor names: B batch, P people of the sample with most, N image tokens, T tokens of one person, D their
width, E an ArcFace embedding, W a SigLIP token, K people with learned tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..adapter.shape import Branch
from ..canvas import CELL_PX
from ..regions.cells import Grid, region_cells
from ..regions.layout import Region


@dataclass(frozen=True, eq=False)
class LearnedRows:
    """Tokens of one branch learned for some of the people of a batch, in place of what the projectors make of them.

    tokens_KTD  float [K, T, D], for each of K people as many as the projectors make
    rows_BP     int64 [B, P]: which of the K a person is; -1 for people without
    """

    tokens_KTD: Tensor
    rows_BP: Tensor

    def to(self, device: torch.device | str) -> "LearnedRows":
        return LearnedRows(self.tokens_KTD.to(device), self.rows_BP.to(device))


@dataclass(frozen=True, eq=False)
class PlacedPeople:
    """The people of a batch and the image tokens they are seen by.

    arcface_BPE  raw ArcFace embeddings, float [B, P, 512]; rows of samples with fewer people are padding
    members_BPN  bool [B, P, N]: whose tokens an image token attends to; a person without any (padding, or dropped on
                 purpose) is nowhere
    siglip_BPTW  SigLIP tokens, float [B, P, patches, width]; None where no branch reads them
    learned      of the branches in which somebody's tokens were learned
    """

    arcface_BPE: Tensor
    members_BPN: Tensor
    siglip_BPTW: Tensor | None = None
    learned: Mapping[Branch, LearnedRows] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "PlacedPeople":
        siglip = None if self.siglip_BPTW is None else self.siglip_BPTW.to(device)
        learned = {branch: rows.to(device) for branch, rows in self.learned.items()}
        return PlacedPeople(self.arcface_BPE.to(device), self.members_BPN.to(device), siglip, learned)


def members(
    regions: Sequence[Sequence[Region | None]], width_px: int, height_px: int, truncate_upper: bool = False
) -> Tensor:
    """Which image tokens each person's place covers, bool [B, P, N], for a batch of images of one size.

    One sequence of places a sample, None for a person who is nowhere; P is the longest of them, at least 1.
    `truncate_upper` is `AdapterFile.truncates_boxes`.
    """
    grid = Grid(width_px // CELL_PX, height_px // CELL_PX, width_px, height_px)
    people = max([1, *map(len, regions)])
    found = torch.zeros(len(regions), people, grid.rows * grid.columns, dtype=torch.bool)
    for sample, places in enumerate(regions):
        for person, region in enumerate(places):
            if region is not None:
                found[sample, person] = region_cells(region, grid, truncate_upper)
    return found
