import random

import pytest
import torch
from withanyone_pack.withanyone_core.regions.cells import Grid, box_cells, cell_groups, region_cells
from withanyone_pack.withanyone_core.regions.layout import Box, Mask

GRID = Grid(columns=10, rows=8, canvas_width_px=160, canvas_height_px=128)


def box(*corners_px):
    return Box.from_px(*corners_px, 160, 128)


def test_a_box_reaches_out_to_whole_cells():
    assert box_cells((15, 17, 33, 48), 10, 8) == (0, 1, 3, 3)


def test_a_box_outside_the_grid_gives_no_cells():
    assert not region_cells(box(200, 200, 300, 300), GRID).any()
    assert not region_cells(box(-50, -50, -20, -20), GRID).any()


def test_only_the_edit_program_cuts_a_fractional_upper_corner():
    assert box_cells((0.0, 0.0, 320.5, 16.0), 40, 40) == (0, 0, 21, 1)
    assert box_cells((0.0, 0.0, 320.5, 16.0), 40, 40, truncate_upper=True) == (0, 0, 20, 1)


def test_groups_partition_the_covered_cells_by_who_covers_them():
    groups = cell_groups([box(0, 0, 48, 48), box(32, 32, 96, 96)], GRID)
    assert sorted(group.people for group in groups) == [(0,), (0, 1), (1,)]
    shared = next(group for group in groups if group.people == (0, 1))
    assert shared.cells.tolist() == [2 * 10 + 2]
    covered = torch.cat([group.cells for group in groups])
    assert covered.unique().numel() == covered.numel() == 9 + 16 - 1


def test_nobody_means_no_groups():
    assert cell_groups([], GRID) == ()
    assert cell_groups([box(300, 0, 310, 10)], GRID) == ()


def test_a_mask_drawn_on_cell_edges_is_that_box():
    random.seed(3)
    for _ in range(50):
        x1, x2 = sorted(random.sample(range(11), 2))
        y1, y2 = sorted(random.sample(range(9), 2))
        mask = torch.zeros(128, 160)
        mask[16 * y1 : 16 * y2, 16 * x1 : 16 * x2] = 1.0
        expected = region_cells(box(16 * x1, 16 * y1, 16 * x2, 16 * y2), GRID)
        assert torch.equal(region_cells(Mask(mask), GRID), expected)


@pytest.mark.parametrize(("height", "width"), [(64, 80), (256, 320), (100, 333)])
def test_a_mask_of_any_size_spans_the_whole_canvas(height, width):
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1.0
    members = region_cells(Mask(mask), GRID).reshape(8, 10)
    assert members[:, :5].float().mean() > 0.85
    assert not members[:, 5:].any()


def test_half_a_cell_is_enough_and_less_is_not():
    mask = torch.zeros(128, 160)
    mask[0:8, 0:16] = 1.0
    mask[32:39, 0:16] = 1.0
    members = region_cells(Mask(mask), GRID).reshape(8, 10)
    assert members[0, 0]
    assert not members[2, 0]


def test_soft_values_count_by_their_mean():
    assert region_cells(Mask(torch.full((128, 160), 0.5)), GRID).all()
    faint = torch.full((128, 160), 0.49)
    faint[0, 0] = 1.0
    assert not region_cells(Mask(faint), GRID).any()


def test_a_crop_sees_the_same_cells_of_box_and_mask_as_the_whole():
    whole = region_cells(box(30, 30, 100, 100), GRID).reshape(8, 10)
    crop = Grid(columns=5, rows=4, canvas_width_px=160, canvas_height_px=128, left_px=32, top_px=16)
    assert torch.equal(region_cells(box(30, 30, 100, 100), crop).reshape(4, 5), whole[1:5, 2:7])
    mask = torch.zeros(128, 160)
    mask[32:96, 48:112] = 1.0
    whole = region_cells(Mask(mask), GRID).reshape(8, 10)
    assert torch.equal(region_cells(Mask(mask), crop).reshape(4, 5), whole[1:5, 2:7])


def test_a_canvas_of_odd_latents_ends_in_a_padded_cell():
    odd = Grid(columns=8, rows=7, canvas_width_px=120, canvas_height_px=104)
    assert region_cells(Box(0.0, 0.0, 1.0, 1.0), odd).all()
    assert region_cells(Mask(torch.ones(104, 120)), odd).all()
