"""The places people get when nobody placed them, against the released program's."""

import itertools
import json
import random
from fractions import Fraction

import pytest
from withanyone_pack.miniature.world import LAYOUTS, SIDE_PX, SPOTS
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.regions.cells import box_cells
from withanyone_pack.withanyone_core.regions.presets import (
    PLACES,
    PRESETS,
    even_row,
    known_places,
    letterbox,
    preset_layout,
    row_layout,
)

HELPERS = json.loads((ROOT / "tests/golden/inference/e_bbox_helpers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", HELPERS["resize_bbox_512_to_target"], ids=lambda case: f"{case['bbox']}-{case['dst']}")
def test_letterbox_is_the_released_one(case):
    assert case["src"] == [512, 512]
    assert list(letterbox(tuple(case["bbox"]), *case["dst"])) == case["out"]


def test_presets_are_the_released_ones():
    assert {
        str(people): [[list(box) for box in preset] for preset in presets] for people, presets in PRESETS.items()
    } == (HELPERS["fallback_layouts"])


@pytest.mark.parametrize("people", [1, 2, 3, 4])
def test_a_preset_in_pixels_is_the_letterboxed_one(people):
    layout = preset_layout(people, 1216, 832, seed=5)
    boxes_px = tuple(box.to_px(1216, 832) for box in layout.boxes)
    assert boxes_px in {tuple(letterbox(box, 1216, 832) for box in preset) for preset in PRESETS[people]}
    assert (layout.width_px, layout.height_px) == (1216, 832)


def test_the_seed_chooses_and_reaches_every_preset():
    for people, presets in PRESETS.items():
        assert len({preset_layout(people, 512, 512, seed) for seed in range(200)}) == len(presets)
        assert preset_layout(people, 512, 512, 11) == preset_layout(people, 512, 512, 11)


@pytest.mark.parametrize(("people", "chosen"), [(2, [12, 4, 1, 7, 7, 8]), (3, [6, 2, 0, 3, 3, 4])])
def test_a_saved_seed_keeps_its_places(people, chosen):
    # Saved workflows rely on these: neither the order of PRESETS nor the way the seed chooses may change.
    layouts = [preset_layout(people, 512, 512, seed) for seed in range(6)]
    places = [tuple(box.to_px(512, 512) for box in layout.boxes) for layout in layouts]
    assert places == [PRESETS[people][index] for index in chosen]


def test_the_global_generator_is_left_alone():
    random.seed(3)
    before = random.getstate()
    preset_layout(2, 512, 512, 1)
    assert random.getstate() == before


@pytest.mark.parametrize("people", range(5, 17))
@pytest.mark.parametrize(
    ("width", "height"), [(1024, 1024), (1344, 768), (832, 1216), (512, 512), (2048, 256), (256, 16)]
)
def test_an_even_row_is_inside_equal_apart_and_above_the_centre(people, width, height):
    boxes = even_row(people, width, height)
    assert len(boxes) == people
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in boxes)
    assert len({(x2 - x1, y2 - y1, y1) for x1, y1, x2, y2 in boxes}) == 1
    cells = [box_cells(box, width // 16, height // 16) for box in boxes]
    assert all(left[2] <= right[0] for left, right in itertools.pairwise(cells))
    x1, y1, x2, y2 = boxes[0]
    if height >= 512:
        assert y2 - y1 > x2 - x1
        assert 0.3 * height < (y1 + y2) / 2 < 0.5 * height
    assert abs((boxes[0][0] + boxes[-1][2]) / 2 - width / 2) <= 16


@pytest.mark.parametrize("people", range(5, 17))
def test_an_even_row_fits_every_canvas_that_has_the_columns(people):
    for columns in range(people, 129):
        boxes = even_row(people, columns * 16, 1024)
        assert boxes[0][0] >= 0
        assert boxes[-1][2] <= columns * 16
        assert all(left[2] <= right[0] for left, right in itertools.pairwise(boxes))


def test_thirty_people_in_a_row_share_no_cell_on_any_usual_canvas():
    for width, height in ((480, 480), (1024, 1024), (1344, 768), (832, 1216)):
        layout = preset_layout(30, width, height)
        cells = [box_cells(box.to_px(width, height), width // 16, height // 16) for box in layout.boxes]
        assert len(cells) == 30
        assert all(left[2] <= right[0] for left, right in itertools.pairwise(cells))
    with pytest.raises(ValueError, match="30 people in a row need a canvas at least 480 pixels wide, not 464"):
        preset_layout(30, 464, 1024)


def test_heads_in_a_row_have_gaps():
    boxes = even_row(5, 1024, 1024)
    assert all(right[0] - left[2] >= 32 for left, right in itertools.pairwise(boxes))
    assert boxes[0][2] - boxes[0][0] == 128


def test_too_narrow_a_canvas_is_refused():
    with pytest.raises(ValueError, match="8 people in a row need a canvas at least 128 pixels wide, not 112"):
        preset_layout(8, 112, 1024)


def test_nobody_is_refused():
    with pytest.raises(ValueError, match="A layout for 0 people was asked for; expected at least 1"):
        preset_layout(0, 512, 512)


@pytest.mark.parametrize("people", [1, 2, 3, 4])
def test_presets_fit_the_smallest_canvas(people):
    for seed in range(30):
        assert len(preset_layout(people, 16, 16, seed).boxes) == people


def test_a_row_that_fits_whole_cells_is_the_same_as_computed_by_hand():
    """0.7 of ten columns each is seven, and a place at 7.5 columns and half a cell begins at the eighth."""
    for people in range(1, 12):
        for columns in range(people, 200):
            share, boxes = Fraction(columns, people), even_row(people, columns * 16, 2048)
            wide = max(1, min(int(Fraction(7, 10) * share), int(Fraction(2, 5) * 128)))
            lefts = [
                int((number + Fraction(1, 2)) * share - Fraction(wide, 2) + Fraction(1, 2)) for number in range(people)
            ]
            assert [(x1 // 16, (x2 - x1) // 16) for x1, _, x2, _ in boxes] == [(left, wide) for left in lefts]


def test_the_miniatures_canvas_has_its_spots_for_presets():
    spots = {
        people: tuple(tuple(spot.box_px for spot in layout) for layout in layouts)
        for people, layouts in LAYOUTS.items()
    }
    assert {(SIDE_PX, SIDE_PX): spots} == PLACES
    boxes = known_places()[f"{SIDE_PX}x{SIDE_PX}"]
    assert {tuple(round(edge * SIDE_PX) for edge in box) for box in boxes} == {spot.box_px for spot in SPOTS}
    assert len(boxes) == len(SPOTS)


@pytest.mark.parametrize("people", [1, 2, 3, 4])
def test_every_preset_and_row_of_a_canvas_of_known_places_is_one_of_them(people):
    known = PLACES[SIDE_PX, SIDE_PX][people]
    layouts = [preset_layout(people, SIDE_PX, SIDE_PX, seed) for seed in range(20)]
    places = {tuple(box.to_px(SIDE_PX, SIDE_PX) for box in layout.boxes) for layout in layouts}
    assert places == set(known)
    row = row_layout(people, SIDE_PX, SIDE_PX)
    assert tuple(box.to_px(SIDE_PX, SIDE_PX) for box in row.boxes) == known[0]
    others = preset_layout(people, SIDE_PX, SIDE_PX + 16)
    assert tuple(box.to_px(SIDE_PX, SIDE_PX + 16) for box in others.boxes) not in known


def test_more_people_than_a_canvas_knows_places_for_stand_in_a_row():
    assert len(preset_layout(5, SIDE_PX, SIDE_PX).boxes) == 5
