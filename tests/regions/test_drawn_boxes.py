import json
import random

import pytest
from withanyone_pack.withanyone_core.regions.drawn_boxes import EXPECTED, boxes_from_json, boxes_to_json
from withanyone_pack.withanyone_core.regions.layout import Box, Layout


def test_boxes_come_back_to_the_last_bit():
    within = random.Random(1).uniform
    boxes = tuple(
        Box(within(-0.3, 0.5), within(-0.3, 0.5), within(0.6, 1.3), within(0.6, 1.3))  # some over the edge
        for _ in range(50)
    )
    assert boxes_from_json(boxes_to_json(boxes)) == boxes


def test_whole_numbers_and_spaces_are_fine():
    assert boxes_from_json(" [ [0, 0,\n 1, 1] ] ") == (Box(0.0, 0.0, 1.0, 1.0),)


def test_a_box_over_the_edge_is_left_to_the_layout():
    (box,) = boxes_from_json("[[-0.25, 0.5, 0.5, 1.5]]")
    assert Layout((box,), 64, 64).boxes == (Box(0.0, 0.5, 0.5, 1.0),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "The boxes read '', which is not JSON (Expecting value: line 1 column 1 (char 0)); " + EXPECTED),
        ("[[0.1, 0.2", "which is not JSON"),
        ("[[0.1, 0.2, 0.3, 0.4],]", "which is not JSON"),
        ("0.1,0.2,0.3,0.4", "which is not JSON"),
        ("[" * 100_000, "The boxes are nested too deeply; " + EXPECTED),
        ("[[0, 0, 1, " + "1" * 5000 + "]]", "which is not JSON"),
        ("{}", "The boxes read '{}'; " + EXPECTED),
        ('"0,0,1,1"', "The boxes read"),
        ("null", "The boxes read 'null'; "),
        ("[]", "There is no box. Draw one on the canvas of Face Layout, or choose a preset there."),
        ("[0.1, 0.2, 0.3, 0.4]", "Box 1 is '0.1'; " + EXPECTED),
        ("[[0, 0, 1, 1], [0.1, 0.2, 0.3]]", "Box 2 is '[0.1, 0.2, 0.3]'; " + EXPECTED),
        ('[[0, 0, 1, "1"]]', "Box 1 is "),
        ("[[0, 0, 1, true]]", "Box 1 is '[0, 0, 1, true]'; "),
        ("[[0, 0, 1, null]]", "Box 1 is "),
        ("[[0, 0, NaN, 1]]", "Box 1 is '[0, 0, NaN, 1]'; "),
        ("[[0, 0, Infinity, 1]]", "Box 1 is "),
        ("[[0, 0, 1e999, 1]]", "Box 1 is "),
        ("[[0, 0, 1, 1" + "0" * 400 + "]]", "Box 1 is "),
        ('[{"x": 0}]', "Box 1 is "),
        ("[[100, 100, 300, 300]]", "Box 1 is '[100, 100, 300, 300]', which looks like pixels; "),
        ("[[0.5, 0.2, 0.5, 0.6]]", "it has no area. Expected the top left corner first: x1 < x2 and y1 < y2."),
        ("[[0.5, 0.6, 0.7, 0.2]]", "it has no area."),
        (
            "[[1.1, 0.2, 1.4, 0.6]]",
            "it lies entirely outside the canvas, which reaches from 0 to 1. Move or delete it.",
        ),
        ("[[0.1, -0.5, 0.4, -0.1]]", "it lies entirely outside the canvas"),
    ],
    ids=lambda value: value[:30],
)
def test_anything_else_is_refused_with_a_message(text, words):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the words are compared as they are, not as a pattern
        boxes_from_json(text)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 500


def test_the_example_of_the_messages_is_one():
    from withanyone_pack.withanyone_core.regions.drawn_boxes import EXAMPLE

    assert len(boxes_from_json(EXAMPLE)) == 2
    assert json.loads(EXAMPLE)
