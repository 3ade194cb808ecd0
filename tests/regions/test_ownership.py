"""Whose cells are whose, in numbers, words and images."""

import numpy as np
import torch
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.regions.cells import Grid
from withanyone_pack.withanyone_core.regions.faces_preview import ENTRY_HEIGHT, LINE_PX, MARGIN, draw_faces
from withanyone_pack.withanyone_core.regions.layout import Box, Layout, Mask, PlacedFace, place_in_box, place_in_mask
from withanyone_pack.withanyone_core.regions.ownership import Overlap, overlaps, owned_cells, ownership_text
from withanyone_pack.withanyone_core.regions.preview import CANVAS, GRID, colour_of
from withanyone_pack.withanyone_core.timing import Window

WIDTH, HEIGHT = 160, 128
CELLS = Grid(10, 8, WIDTH, HEIGHT)
LAYOUT = Layout(
    tuple(Box.from_px(*box, WIDTH, HEIGHT) for box in [(0, 0, 64, 64), (48, 32, 96, 64), (128, 96, 160, 128)]),
    WIDTH,
    HEIGHT,
)


def person(name, level=0.5):
    return Identity(name, torch.zeros(512), None, torch.full((512, 512, 3), level))


def people():
    """Ann on 16 cells, Ben on 6 of which 2 are Ann's, Mia masked on Ben's last column and one more cell."""
    mask = torch.zeros(8, 10)
    mask[2:4, 5] = 1
    mask[4, 5] = 1
    faces = place_in_box(person("Ann", 1.0), LAYOUT, 1)
    faces = place_in_box(person("Ben"), LAYOUT, 2, 0.5, faces)
    faces = place_in_mask(person("Mia"), Mask(mask), earlier=faces)
    return place_in_box(person("Zoe"), LAYOUT, 3, 0.0, faces)


def test_overlaps_are_shared_cells_as_parts_of_each():
    members = owned_cells(people(), CELLS)
    assert members.sum(1).tolist() == [16, 6, 3, 0]
    assert overlaps(members) == (Overlap(0, 1, 2, 2 / 16, 2 / 6), Overlap(1, 2, 2, 2 / 6, 2 / 3))
    assert overlaps(owned_cells([], CELLS)) == ()


def test_words_say_everybody_s_place_and_every_overlap():
    assert ownership_text(people(), CELLS).splitlines() == [
        "80 cells of 16 pixels on a 160x128 canvas",
        "1 Ann: box 1, 16 cells",
        "2 Ben: box 2, 6 cells, weight 0.5",
        "3 Mia: mask, 3 cells",
        "4 Zoe: box 3, left out (weight 0)",
        "1 Ann (12%) and 2 Ben (33%) share 2 cells",
        "2 Ben (33%) and 3 Mia (67%) share 2 cells",
    ]


def test_people_alone_late_and_out_of_sight():
    late = PlacedFace(person("Ann\nLee"), LAYOUT.boxes[0], window=Window(0.2, 0.8))
    speck = torch.zeros(HEIGHT, WIDTH)
    speck[0, 0] = 1
    lines = ownership_text([late, PlacedFace(person("Ben"), Mask(speck))], CELLS).splitlines()
    assert lines[1:] == [
        "1 Ann Lee: mask, 16 cells, 20% to 80% of the steps",
        "2 Ben: mask, no cell: will not appear",
        "Nobody overlaps.",
    ]


def test_two_people_on_one_box_overlap_wholly():
    faces = place_in_box(person("Ben"), LAYOUT, 1, earlier=place_in_box(person("Ann"), LAYOUT, 1))
    assert ownership_text(faces, CELLS).splitlines()[-1] == "1 Ann (100%) and 2 Ben (100%) share 16 cells"


SIDE = 1024 / WIDTH * 16  # of a cell in the image


def block(image, row, column):
    """The lower half of a cell, away from its edges; names stand higher."""
    bottom, left, right = int((row + 1) * SIDE) - 8, int(column * SIDE) + 8, int((column + 1) * SIDE) - 8
    return image[bottom - 40 : bottom, left:right].reshape(-1, 3)


def tones(number):
    return np.array(CANVAS) + 90 / 255 * (np.array(colour_of(number)) - np.array(CANVAS))


def test_the_image_shades_whole_cells_and_stripes_shared_ones():
    image = draw_faces(people(), CELLS)
    assert image.dtype == np.uint8
    assert np.abs(block(image, 0, 0) - tones(1)).max() <= 1
    assert np.abs(block(image, 3, 4) - tones(2)).max() <= 1
    shared = block(image, 2, 3).astype(float)
    parts = [(np.abs(shared - tones(number)).max(1) <= 1).mean() for number in (1, 2)]
    assert min(parts) > 0.3
    assert {tuple(colour) for colour in block(image, 6, 2)} <= {CANVAS, GRID}
    assert {tuple(colour) for colour in block(image, 6, 9)} <= {CANVAS, GRID}  # Zoe's, who is left out


def test_below_are_a_crop_for_everybody_and_a_line_for_every_overlap():
    height = round(1024 * HEIGHT / WIDTH)
    image = draw_faces(people(), CELLS)
    assert image.shape == (height + 2 * ENTRY_HEIGHT + 2 * LINE_PX + MARGIN, 1024, 3)
    middle = height + ENTRY_HEIGHT // 2
    assert tuple(image[middle, 40]) == (255, 255, 255)  # Ann's crop
    assert tuple(image[middle, 340 + 40]) == (128, 128, 128)  # Ben's
    assert (image[height + 2 * ENTRY_HEIGHT :, :600].max(axis=(1, 2)) > 200).any()


def test_a_image_lies_behind():
    behind = np.full((8, 10, 3), 200, np.uint8)
    image = draw_faces(people(), CELLS, behind)
    assert (block(image, 6, 2) == 200).all()


def test_thirty_people_and_a_narrow_canvas_are_drawn():
    boxes = tuple(Box(number / 30, 0.4, (number + 1) / 30, 0.6) for number in range(30))
    layout, faces = Layout(boxes, 1920, 1088), ()
    for number in range(30):
        faces = place_in_box(person(f"a very long name indeed, number {number}"), layout, earlier=faces)
    image = draw_faces(faces, Grid(120, 68, 1920, 1088))
    assert image.shape[0] > 10 * ENTRY_HEIGHT
    assert "and 17 more pairs" not in ownership_text(faces, Grid(120, 68, 1920, 1088))
    narrow = Layout((Box(0, 0, 1, 0.5), Box(0, 0, 1, 0.5)), 16, 1024)
    faces = place_in_box(person("Ben"), narrow, earlier=place_in_box(person("Ann"), narrow))
    assert draw_faces(faces, Grid(1, 64, 16, 1024)).shape[1] == 680
