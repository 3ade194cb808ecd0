"""Boxes in fractions and pixels, boxes as text, masks, and who stands where."""

import logging
import math

import numpy as np
import pytest
import torch
from withanyone_pack.withanyone_core.canvas import floor_to_tokens
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.regions.cells import box_cells
from withanyone_pack.withanyone_core.regions.layout import (
    Box,
    Layout,
    Mask,
    PlacedFace,
    parse_boxes,
    place_in_box,
    place_in_mask,
)
from withanyone_pack.withanyone_core.regions.preview import CANVAS, GRID, draw_layout

WIDTH, HEIGHT = 1024, 768


def person(name: str = "Ada") -> Identity:
    return Identity(name, torch.zeros(512), None, torch.zeros(512, 512, 3))


def layout_of(*boxes_px: tuple[float, ...], width: int = WIDTH, height: int = HEIGHT) -> Layout:
    return Layout(tuple(Box.from_px(*box, width, height) for box in boxes_px), width, height)


def test_pixels_to_fractions_and_back_give_the_same_cells_for_every_cell_edge():
    for size in range(16, 2048 + 1, 16):
        for edge in range(0, size, 16):
            back = Box.from_px(edge, edge, edge + 16, edge + 16, size, size).to_px(size, size)
            assert back == (edge, edge, edge + 16, edge + 16)
            cell = edge // 16
            assert box_cells(back, size // 16, size // 16) == (cell, cell, cell + 1, cell + 1)


@pytest.mark.parametrize(
    ("text", "expected_px"),
    [
        ("16,32,160,192", [(16, 32, 160, 192)]),
        ("16 32 160 192", [(16, 32, 160, 192)]),
        ("  16 , 32,160   192  ", [(16, 32, 160, 192)]),
        ("16,32,160,192; 200,32,320.5,192", [(16, 32, 160, 192), (200, 32, 320.5, 192)]),
        ("16,32,160,192\r\n\n200,32,320,192;\n", [(16, 32, 160, 192), (200, 32, 320, 192)]),
        ("0.25,0.5,0.75,1", [(256, 384, 768, 768)]),
        ("0 0 1 1", [(0, 0, 1024, 768)]),
        # One number above 1 anywhere makes the whole text pixels.
        ("0,0,1,1\n0,0,2,1", [(0, 0, 1, 1), (0, 0, 2, 1)]),
        ("-20,-5,40,50", [(-20, -5, 40, 50)]),
        ("", []),
        (" ;\n; ", []),
    ],
)
def test_box_text(text, expected_px):
    assert [box.to_px(WIDTH, HEIGHT) for box in parse_boxes(text, WIDTH, HEIGHT)] == expected_px


@pytest.mark.parametrize(
    "wrong", ["10,20,30", "10,20,30,40,50", "left,20,30,40", "10,,30,40", "10,,20,30,40", "10,20,30,40,", "1e,2,3,4"]
)
def test_box_text_that_is_no_box_is_named_with_its_line(wrong):
    with pytest.raises(ValueError, match=r"Line 2 of the boxes reads '.*'; expected four numbers x1,y1,x2,y2") as error:
        parse_boxes(f"0,0,64,64\n{wrong}", WIDTH, HEIGHT)
    assert f"'{wrong}'" in str(error.value)


def test_box_text_round_trips_in_full_precision():
    generator = np.random.default_rng(7)
    for _ in range(200):
        width, height = (int(size) * 16 for size in generator.integers(1, 129, 2))
        corners = np.sort(generator.random((3, 2, 2)), axis=1).reshape(3, 4)
        boxes = tuple(Box(*map(float, corner)) for corner in corners if min(corner[2:] - corner[:2]) > 1e-3)
        layout = Layout(boxes, width, height)
        text = "\n".join(",".join(repr(value) for value in box.as_tuple()) for box in layout.boxes)
        assert parse_boxes(text, width, height) == layout.boxes


@pytest.mark.parametrize(
    ("box_px", "words"),
    [
        ((64, 0, 64, 128), r"Box 2 is 64, 0, 64, 128 in pixels .*: it has no area"),
        ((0, 64, 64, 64), r"Box 2 is 0, 64, 64, 64 in pixels .*: it has no area"),
        ((200, 20, 100, 80), r"Box 2 is 200, 20, 100, 80 in pixels .*: it is inverted"),
        ((20, 80, 100, 20), r"Box 2 is 20, 80, 100, 20 in pixels .*: it is inverted"),
        ((math.nan, 0, 64, 64), r"Box 2 is nan, 0, 64, 64 in pixels .*: all four must be finite"),
        ((0, 0, math.inf, 64), r"Box 2 is 0, 0, inf, 64 in pixels .*: all four must be finite"),
        ((1024, 0, 1100, 64), r"Box 2 is 1024, 0, 1100, 64 .* entirely outside the 1024x768 canvas"),
        ((0, 768, 64, 900), r"Box 2 is 0, 768, 64, 900 .* entirely outside the 1024x768 canvas"),
        ((-64, 0, 0, 64), r"Box 2 is -64, 0, 0, 64 .* entirely outside the 1024x768 canvas"),
        ((0, -64, 64, -1), r"Box 2 is 0, -64, 64, -1 .* entirely outside the 1024x768 canvas"),
    ],
)
def test_a_box_that_is_no_place_is_refused_with_a_message(box_px, words):
    with pytest.raises(ValueError, match=words):
        layout_of((0, 0, 64, 64), box_px)


def test_boxes_partly_outside_are_clamped_with_one_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="withanyone"):
        layout = layout_of((-20, 10, 50.5, 900), (16, 16, 64, 64), (1000, 10, 1100, 60))
    assert layout.boxes[0].to_px(WIDTH, HEIGHT) == (0, 10, 50.5, 768)
    assert layout.boxes[1].to_px(WIDTH, HEIGHT) == (16, 16, 64, 64)
    assert layout.boxes[2].to_px(WIDTH, HEIGHT) == (1000, 10, 1024, 60)
    (record,) = caplog.records
    assert "clamped: Box 1 is -20, 10, 50.5, 900 in pixels" in record.getMessage()
    assert "Box 3" in record.getMessage()
    assert "Box 2" not in record.getMessage()


def test_boxes_inside_are_kept_to_the_last_bit_without_a_warning(caplog):
    box = Box(0.1 + 0.2, 0.0, 1.0, 1 / 3)
    assert Layout((box,), WIDTH, HEIGHT).boxes == (box,)
    assert not caplog.records


def test_every_box_of_a_layout_covers_at_least_one_cell():
    for x in (0, 15.999, 16, 500.25, 1023.999):
        layout = layout_of((x, 0, x + 0.001, 0.001))
        column0, row0, column1, row1 = box_cells(layout.boxes[0].to_px(WIDTH, HEIGHT), 64, 48)
        assert (column1 - column0, row1 - row0) == (1, 1)


def test_a_canvas_smaller_than_a_cell_is_refused():
    with pytest.raises(ValueError, match=r"The canvas is 1024x8 pixels; expected at least 16x16"):
        Layout((), 1024, 8)


def test_a_canvas_off_the_cells_is_floored_with_a_warning(caplog):
    assert floor_to_tokens(1000, 777) == (992, 768)
    assert "A 1000x777 canvas is not made of 16-pixel cells; using 992x768" in caplog.text
    caplog.clear()
    assert floor_to_tokens(832, 1216) == (832, 1216)
    assert not caplog.records


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6)])
def test_masks_of_either_rank(shape):
    mask = Mask.from_batch(torch.ones(shape, dtype=torch.float16))
    assert mask.coverage.shape == (8, 6)
    assert mask.coverage.dtype == torch.float32


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.full((1, 8, 8), 0.49), "The mask is empty: no pixel reaches 0.5"),
        (torch.ones(1, 8, 8).index_fill(2, torch.tensor(3), math.nan), "The mask contains NaN or infinite values"),
        (torch.ones(1, 8, 8).index_fill(2, torch.tensor(3), math.inf), "The mask contains NaN or infinite values"),
        (torch.ones(1, 8, 8, 3), r"The mask has the shape \[1, 8, 8, 3\]; expected \[height, width\]"),
        (torch.ones(8), r"The mask has the shape \[8\]; expected"),
        (torch.ones(2, 8, 8), "The mask batch holds 2 masks, but a person stands in one"),
        (torch.ones(0, 8, 8), "The mask batch holds 0 masks, but a person stands in one"),
        (torch.ones(1, 0, 0), "The mask is empty"),
    ],
)
def test_masks_that_are_no_place_are_refused_with_a_message(mask, words):
    with pytest.raises(ValueError, match=words):
        Mask.from_batch(mask)


LAYOUT = layout_of((0, 0, 64, 64), (64, 0, 128, 64), (128, 0, 192, 64))


def test_next_free_is_the_lowest_box_nobody_took():
    faces = place_in_box(person("Ada"), LAYOUT, 2)
    faces = place_in_mask(person("Mia"), Mask(torch.ones(4, 4)), 0.5, faces)
    faces = place_in_box(person("Ben"), LAYOUT, 0, 0.7, faces)
    faces = place_in_box(person("Cleo"), LAYOUT, 0, earlier=faces)
    assert [(face.identity.name, face.box_number, face.weight) for face in faces] == [
        ("Ada", 2, 1.0),
        ("Mia", None, 0.5),
        ("Ben", 1, 0.7),
        ("Cleo", 3, 1.0),
    ]
    assert (faces[0].region, faces[2].region) == LAYOUT.boxes[1::-1]
    assert isinstance(faces[1].region, Mask)
    with pytest.raises(ValueError, match=r"No box is free for Dan: .* 3 boxes .*\(1 by Ben, 2 by Ada, 3 by Cleo\)"):
        place_in_box(person("Dan"), LAYOUT, 0, earlier=faces)


def test_earlier_faces_are_not_changed():
    earlier = place_in_box(person("Ada"), LAYOUT)
    place_in_box(person("Ben"), LAYOUT, earlier=earlier)
    assert [face.identity.name for face in earlier] == ["Ada"]


def test_a_box_beyond_the_layout_is_refused():
    with pytest.raises(ValueError, match=r"Box 4 was asked for Ada, but the layout has 3 boxes \(1 to 3\)"):
        place_in_box(person(), LAYOUT, 4)
    with pytest.raises(ValueError, match="Box 2 was asked for Ada, but the layout has 1 box;"):
        place_in_box(person(), layout_of((0, 0, 64, 64)), 2)


def test_two_people_may_share_a_box_that_is_asked_for_by_its_number(caplog):
    faces = place_in_box(person("Ben"), LAYOUT, 1, earlier=place_in_box(person("Ada"), LAYOUT, 1))
    assert [face.box_number for face in faces] == [1, 1]
    assert faces[0].region == faces[1].region
    assert "Ben shares box 1 with Ada; their features will mix." in caplog.text
    assert place_in_box(person("Cleo"), LAYOUT, earlier=faces)[-1].box_number == 2


def test_face_embeddings_make_no_other_layout_and_must_be_one_a_box():
    embeddings = torch.randn(3, 512)
    assert Layout(LAYOUT.boxes, WIDTH, HEIGHT, embeddings, "antelopev2/glintr100.onnx") == LAYOUT
    with pytest.raises(ValueError, match="3 boxes came with the face embeddings of 2"):
        Layout(LAYOUT.boxes, WIDTH, HEIGHT, embeddings[:2])


def test_a_chain_made_on_another_layout_is_refused():
    # Box 1 is the same in both: only the layouts as a whole differ.
    other = layout_of((0, 0, 64, 64), (200, 0, 264, 64))
    with pytest.raises(ValueError, match="Ben is placed in another layout than the faces before it"):
        place_in_box(person("Ben"), other, 2, earlier=place_in_box(person("Ada"), LAYOUT, 1))
    equal = Layout(LAYOUT.boxes, WIDTH, HEIGHT)
    assert len(place_in_box(person("Ben"), equal, earlier=place_in_box(person("Ada"), LAYOUT))) == 2


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match=r"The weight of Ada is .*; expected a number of 0 or more"):
        PlacedFace(person(), LAYOUT.boxes[0], weight)


def test_the_preview_shades_exactly_the_cells():
    layout = layout_of((20, 20, 90, 130), (200, 100, 210, 104), width=256, height=128)
    image = draw_layout(layout)
    assert image.shape == (512, 1024, 3)
    assert image.dtype == np.uint8
    # The first and the last pixel of each cell: its 16 pixels are 64 of the preview.
    shaded = np.array([[not _plain(image[row * 64, column * 64]) for column in range(16)] for row in range(8)])
    expected = np.zeros((8, 16), bool)
    expected[1:8, 1:6] = True
    expected[6, 12:14] = True
    assert (shaded == expected).all()
    last = np.array([[not _plain(image[row * 64 + 63, column * 64 + 63]) for column in range(16)] for row in range(8)])
    assert (last == expected).all()
    assert tuple(image[66, 66]) != tuple(image[6 * 64 + 2, 12 * 64 + 2])


def _plain(pixel: np.ndarray) -> bool:
    return tuple(pixel) in (CANVAS, GRID)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (16384, 16), (16, 16384), (4096, 2048)])
def test_the_preview_of_any_canvas_is_small(width, height):
    image = draw_layout(Layout((Box(0.2, 0.2, 0.7, 0.9),), width, height))
    assert max(image.shape) == 1024
    assert min(image.shape[:2]) == max(1, round(min(width, height) * 1024 / max(width, height)))
