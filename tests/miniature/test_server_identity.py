"""In a real ComfyUI, box k of the shipped two-person workflow shows person k; with one thing broken it does not."""

import math

import numpy as np
import pytest
from withanyone_pack.miniature.world.scene import SIDE_PX
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import id_of, pixels
from withanyone_pack.tests.miniature.identity_sample import CELL_PX, SAMPLES, accuracy, asked, tight

pytestmark = pytest.mark.server

BOUND = 0.5  # one in 24 is right by chance
SECONDS = 300


def swapped(boxes_px):
    return boxes_px[::-1]


def everywhere(boxes_px):
    """As if no mask kept anybody in their box."""
    return [(0, 0, SIDE_PX, SIDE_PX)] * len(boxes_px)


def rounded_inwards(boxes_px):
    """The cells wholly inside each box, in place of all that it reaches into."""
    return [[math.ceil(value / CELL_PX) * CELL_PX for value in box[:2]] + cut(box[2:]) for box in boxes_px]


def cut(corner):
    return [int(value / CELL_PX) * CELL_PX for value in corner]


def unchanged(value):
    return value


FAULTS = {  # what is changed of the boxes, and of the graphs
    "boxes swapped": (swapped, unchanged),
    "no mask": (everywhere, unchanged),
    "boxes rounded inwards": (rounded_inwards, unchanged),
}


@pytest.fixture(scope="module")
def reached():
    """How often box k shows person k, for a change of the boxes and one of the graphs."""
    with ComfyServer() as server:

        def generated(graph):
            history = server.run(graph, SECONDS)
            return [pixels(file).astype(np.uint8) for file in server.images(history, id_of(graph, "SaveImage"))]

        def measure(change_boxes, change_graph):
            graphs = [asked(number, change_boxes(tight(sample))) for number, sample in enumerate(SAMPLES)]
            found = accuracy([generated(change_graph(graph)) for graph in graphs])
            print(f"the right person in {found:.1%} of the boxes")
            return found

        yield measure


def test_the_judge_knows_these_people_when_they_are_drawn():
    assert accuracy([[sample.truth] for sample in SAMPLES]) == 1


def test_box_k_shows_person_k(reached):
    assert reached(unchanged, unchanged) >= BOUND


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_broken_does_not(reached, fault):
    assert reached(*FAULTS[fault]) < BOUND
