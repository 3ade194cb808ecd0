from collections import namedtuple

import numpy as np
import pytest
import torch
from withanyone_pack.withanyone_core.regions.box_formats import CORNERS, NUMBERS, SIZED, boxes_from
from withanyone_pack.withanyone_core.regions.layout import Box

SEG = namedtuple("SEG", "cropped_image cropped_mask confidence crop_region bbox label control_net_wrapper")
ONE, TWO = Box(0.1, 0.2, 0.4, 0.7), Box(0.5, 0.0, 1.0, 0.5)
DICT_1 = {"x": 100, "y": 100, "width": 300, "height": 250, "label": "face", "score": 0.9}
DICT_2 = {"x": 500, "y": 0, "width": 500, "height": 250, "metadata": {"type": "obj"}}
FOUR_1, FOUR_2 = (100, 100, 300, 250), (500, 0, 500, 250)
CORNERS_1, CORNERS_2 = (100, 100, 400, 350), (500, 0, 1000, 250)


def seg(*bbox):
    return SEG(None, None, 0.9, (0, 0, 9, 9), bbox, "face", None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (DICT_1, [ONE]),
        ([DICT_1, DICT_2], [ONE, TWO]),
        ([[DICT_1, DICT_2]], [ONE, TWO]),
        (FOUR_1, [ONE]),
        (list(FOUR_1), [ONE]),
        ([FOUR_1], [ONE]),
        ([FOUR_1, FOUR_2], [ONE, TWO]),
        ([[FOUR_1, FOUR_2]], [ONE, TWO]),
        ([[list(FOUR_1)]], [ONE]),
        ((*FOUR_1, 0.97), [ONE]),
        (np.array([FOUR_1, FOUR_2]), [ONE, TWO]),
        ([np.array(FOUR_1, np.float32)], [ONE]),
        (torch.tensor([[FOUR_1, FOUR_2]]), [ONE, TWO]),
        ((0.1, 0.2, 0.3, 0.5), [ONE]),
        ({"x": 0.5, "y": 0.0, "width": 0.5, "height": 0.5}, [TWO]),
        ("100,100,400,350", [ONE]),
        ("0.1,0.2,0.4,0.7; 0.5,0,1,0.5", [ONE, TWO]),
    ],
)
def test_every_form_gives_the_same_boxes(given, expected):
    boxes = boxes_from(given, 1000, 500)
    assert len(boxes) == len(expected)
    for box, wanted in zip(boxes, expected, strict=True):
        assert box.as_tuple() == pytest.approx(wanted.as_tuple(), abs=1e-9)


@pytest.mark.parametrize("given", [CORNERS_1, [CORNERS_1, CORNERS_2], [[CORNERS_1, CORNERS_2]]])
def test_bare_fours_may_be_corners_while_dicts_never_are(given):
    assert boxes_from(given, 1000, 500, CORNERS)[0].as_tuple() == pytest.approx(ONE.as_tuple())
    assert boxes_from([DICT_1], 1000, 500, CORNERS) == boxes_from([DICT_1], 1000, 500, SIZED)


def test_segs_are_measured_in_their_own_image():
    segs = ((1000, 2000), [seg(200, 200, 800, 700), seg(1000, 0, 2000, 500)])
    assert boxes_from(segs, 512, 512) == (ONE, TWO)
    assert boxes_from(segs, 512, 512, CORNERS) == boxes_from(segs, 64, 64, SIZED)
    assert boxes_from(((500, 1000), [seg(*np.array(CORNERS_1))]), 1000, 500)[0] == ONE
    # A tiny box at the corner is pixels all the same.
    assert boxes_from(((10, 10), [seg(0, 0, 1, 1)]), 64, 64) == (Box(0, 0, 0.1, 0.1),)


def test_of_several_frames_the_first_is_used(caplog):
    assert boxes_from([[DICT_1], [DICT_2], []], 1000, 500) == boxes_from(DICT_1, 1000, 500)
    assert "The boxes of 3 frames came in; those of the first are used." in caplog.text
    caplog.clear()
    assert boxes_from([[FOUR_1], [FOUR_2]], 1000, 500) == boxes_from(FOUR_1, 1000, 500)
    assert "2 frames" in caplog.text


@pytest.mark.parametrize("given", [[], [[]], [[], []], "", " ;\n", ((512, 512), []), np.zeros((0, 4))])
def test_no_box_is_refused_with_a_message(given):
    with pytest.raises(ValueError, match=r"No box came in: what is connected to boxes is empty. A detector may have"):
        boxes_from(given, 1000, 500)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "What is connected to boxes is None; expected BOUNDING_BOX, BBOX, SEGS or text"),
        (3, "What is connected to boxes is 3; expected"),
        (
            {"x": 1, "y": 2, "w": 3},
            r"has no width, height in box 1 \(it has x, y, w\); expected x, y, width and height",
        ),
        ([DICT_1, {"bbox": [1, 2, 3, 4]}], r"has no x, y, width, height in box 2 \(it has bbox\)"),
        ([1, 2, 3], r"box 1 is \[1, 2, 3\]; expected four numbers x, y, width, height"),
        ([FOUR_1, (1, 2, 3)], r"box 2 is \[1, 2, 3\]; expected four numbers x, y, width, height, in pixels"),
        ([("a", "b", "c", "d")], r"box 1 is \['a', 'b', 'c', 'd'\]; expected four numbers"),
        ([FOUR_1, "1,2,3,4"], r"box 2 is \['1,2,3,4'\]; expected four numbers"),
        ([True, 2, 3, 4], r"box 1 is \[True\]; expected four numbers"),
        ({"x": 1, "y": None, "width": 3, "height": 4}, r"box 1 is \[1, None, 3, 4\]"),
        (torch.zeros(1, 3, 64, 64), r"box 1 is list \[.*\.\.\.; expected four numbers"),
        ("10,20,30", "Line 1 of the boxes reads '10,20,30'; expected four numbers"),
        (((64, 64), [seg(1, 2, 3)]), r"segment 1 is \[1, 2, 3\]; expected four numbers x1, y1, x2, y2"),
    ],
)
def test_anything_else_is_named(given, words):
    with pytest.raises(ValueError, match=words):
        boxes_from(given, 1000, 500)


def test_unknown_order_of_numbers():
    assert NUMBERS == ("x, y, width, height", "x1, y1, x2, y2")
    with pytest.raises(ValueError, match="The order of the numbers is 'yxhw'; expected one of x, y, width, height; x1"):
        boxes_from(FOUR_1, 1000, 500, "yxhw")


@pytest.mark.parametrize(
    "given",
    [
        np.array([[0.7, 0.1, 0.3, 0.9]], np.float32) * np.float32(1.0000001),
        [{"x": 0.9, "y": 0.2, "width": 0.1 + 2e-16, "height": 0.8}],
        torch.tensor([[0.2, 0.6, 0.8, 0.4]]) + 3e-8,
        "0.5,0,1.0000001,1",
    ],
)
def test_fractions_that_end_at_the_edge_are_no_pixels(given):
    """x + width may come out above 1 by the last bit."""
    (box,) = boxes_from(given, 1000, 500)
    assert box.x2 == pytest.approx(1.0)
    assert box.x2 > 1.0 or box.y2 > 1.0
