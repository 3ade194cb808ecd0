import numpy as np
import pytest
from withanyone_pack.tests.metrics.made import SIDE_PX, box, case, image, people, references
from withanyone_pack.withanyone_core.metrics.matching import best_assignment, match, overlaps


def test_the_assignment_with_the_largest_sum_is_not_the_greedy_one():
    assert best_assignment(np.array([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]


def test_overlap_is_intersection_over_union():
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]], np.float32)
    assert np.allclose(overlaps(boxes, others), [[1, 1 / 3, 0, 0]])


def test_faces_are_matched_by_the_ground_truth_first():
    """An image that shows the first person's twin: alike by reference, told apart by the ground truth."""
    who = people(2)
    twin = who[0] + 0.1 * people(1, seed=9)[0]
    made = case(
        2,
        generated=image(np.stack([twin, who[0]])),
        truth=image(np.stack([who[0], twin])),
        references=(image(who[:1]), image(who[:1] + 0.5 * people(1, seed=10))),
        truth_boxes_px=(box(0), box(1)),
    )
    found = match(made)
    assert found.method == "truth"
    assert found.faces == (1, 0)


def test_without_ground_truth_the_references_decide():
    who = people(3)
    found = match(case(3, generated=image(who[[2, 0, 1]], 0.5), truth=None))
    assert found.method == "references"
    assert found.faces == (1, 2, 0)
    assert found.truth_faces == (None,) * 3
    assert any("no ground truth" in note for note in found.notes)


def test_placed_boxes_decide_where_they_are_known_even_if_people_were_swapped():
    who = people(2)
    made = case(2, generated=image(who, places=[1, 0]), boxes_px=(box(0), box(1)))
    found = match(made)
    assert found.method == "boxes"
    assert found.faces == (1, 0)


def test_a_face_outside_every_box_is_extra_and_its_box_lost():
    found = match(case(2, generated=image(people(2), places=[0, 7]), boxes_px=(box(0), box(1))))
    assert found.faces == (0, None)


def test_of_two_faces_in_a_box_the_larger_overlap_counts():
    whole = (0.0, 0.0, 3 * SIDE_PX, SIDE_PX)
    generated = image(people(2), places=[0, 0])
    generated.boxes_px[0] = (50, 10, 60, 20)
    found = match(case(1, generated=generated, boxes_px=(whole,)))
    assert found.faces == (1,)


def test_as_many_boxes_as_possible_get_a_face():
    """The first box would overlap face 0 most, but then the second, which only holds face 0, would get none."""
    generated = image(people(2), places=[0, 0])
    generated.boxes_px[:] = [(40, 40, 60, 60), (38, 38, 42, 42)]
    found = match(case(2, generated=generated, boxes_px=((39, 39, 61, 61), (45, 45, 75, 75))))
    assert found.faces == (1, 0)


def test_a_face_half_out_of_its_box_still_belongs_to_it():
    generated = image(people(1))
    generated.boxes_px[:] = [(0, 0, 40, 40)]
    assert match(case(1, generated=generated, boxes_px=((21, 0, 61, 40),))).faces == (0,)  # a third of the union
    assert match(case(1, generated=generated, boxes_px=((36, 0, 76, 40),))).faces == (None,)


def test_the_best_scored_face_of_a_reference_counts_and_the_others_are_noted():
    who = people(2)
    two = image(np.stack([who[1], who[0]]))
    two.scores[:] = (0.6, 0.95)
    found = match(case(2, references=(two, references(who)[1])))
    assert found.reference_faces == (1, 0)
    assert any("person 1 shows 2 faces; the highest score counts" in note for note in found.notes)


def test_a_reference_without_a_face_is_noted_and_its_person_found_by_elimination():
    who = people(3)
    refs = (references(who)[0], image(who[:0]), references(who)[2])
    found = match(case(3, references=refs))
    assert found.reference_faces == (0, None, 0)
    assert found.truth_faces == (0, 1, 2)
    assert found.faces == (0, 1, 2)
    assert any("person 2 shows 0 faces; it is left out" in note for note in found.notes)


def test_somebody_known_by_nothing_is_still_counted():
    who = people(2)
    found = match(case(2, truth=None, references=(references(who)[0], image(who[:0]))))
    assert found.faces == (0, 1)


def test_somebody_missing_in_the_ground_truth_is_found_by_the_reference():
    who = people(3)
    found = match(case(3, truth=image(who[:2], 0.3), generated=image(who[[2, 1, 0]], 0.3)))
    assert found.truth_faces == (0, 1, None)
    assert found.faces == (2, 1, 0)
    assert any("person 3 was not found in the ground truth" in note for note in found.notes)
    assert any("The ground truth shows 2 faces, and 3 were expected" in note for note in found.notes)


def test_boxes_of_the_ground_truth_tell_its_faces():
    who = people(2)
    swapped = case(2, truth=image(who, places=[1, 0]), truth_boxes_px=(box(0), box(1)))
    assert match(swapped).truth_faces == (1, 0)


def test_an_empty_image_loses_everybody():
    assert match(case(2, generated=image(people(0)))).faces == (None, None)
    assert match(case(2, generated=image(people(0)), boxes_px=(box(0), box(1)))).faces == (None, None)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(RuntimeError, match="pip install scipy"):
        best_assignment(np.eye(2))


@pytest.mark.parametrize("third", [1 / 3, 0.1 + 0.2, 511.7])
def test_a_face_whose_middle_lies_on_the_edge_belongs_to_the_box_however_it_was_computed(third):
    """Of long thin faces, so that the overlap does not decide."""
    generated = image(people(1))
    for off in (-1e-5, 0.0, 1e-5):
        generated.boxes_px[:] = [(third - 200.0, 10, third + 200.0, 10.5)]
        assert match(case(1, generated=generated, boxes_px=((third + off, 0, third + 40, 400),))).faces == (0,)
