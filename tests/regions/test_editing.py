import numpy as np
import pytest
from withanyone_pack.withanyone_core.faces.selection import faces_by_number
from withanyone_pack.withanyone_core.identity import Face
from withanyone_pack.withanyone_core.regions.editing import blur_boxes, prepare_edit


def face(*box_px):
    return Face(box_px, 0.9, np.zeros((5, 2), np.float32), np.zeros(512, np.float32))


@pytest.fixture
def photo():
    return np.random.default_rng(1).integers(0, 256, (330, 410, 3), dtype=np.uint8)


def test_faces_are_blurred_each_by_itself_and_nothing_else_changes(photo):
    blurred = blur_boxes(photo, [(20, 30, 140, 150)])
    inside = np.zeros(photo.shape[:2], bool)
    inside[30:150, 20:140] = True
    assert np.array_equal(blurred[~inside], photo[~inside])
    assert blurred[inside].std() < 0.2 * photo[inside].std()
    surroundings = photo.copy()
    surroundings[~inside] = 255
    assert np.array_equal(blur_boxes(surroundings, [(20, 30, 140, 150)])[inside], blurred[inside])


def test_small_faces_stay_sharp_and_are_named(photo):
    edit = prepare_edit(photo, [face(20, 30, 140.9, 150), face(200, 200, 299, 320)])
    assert edit.sharp == (2,)
    assert prepare_edit(photo, [face(200, 200, 299, 320)], smallest_px=0).sharp == ()


def test_the_canvas_is_the_photo_floored_to_cells_and_the_boxes_follow(photo):
    edit = prepare_edit(photo, [face(41, 33, 205, 165)])
    assert edit.image.shape == (320, 400, 3)
    assert (edit.layout.width_px, edit.layout.height_px) == (400, 320)
    assert edit.layout.boxes[0].to_px(410, 330) == (41, 33, 205, 165)


def test_one_face_is_enough_and_none_is_refused_with_a_message(photo):
    assert len(prepare_edit(photo, [face(20, 30, 140, 150)]).layout.boxes) == 1
    with pytest.raises(ValueError, match=r"The image \(410 x 330\) shows no face to edit"):
        prepare_edit(photo, [])


def test_a_face_cut_by_the_edge_is_edited_as_far_as_it_is_there(photo):
    edit = prepare_edit(photo, [face(-30.5, -20.1, 150, 130)])
    assert edit.layout.boxes[0].to_px(410, 330) == (0, 0, 150, 130)
    assert edit.sharp == ()


def test_faces_are_chosen_by_their_number_from_the_left():
    right, left, middle = face(300, 0, 400, 100), face(0, 0, 100, 100), face(150, 0, 250, 100)
    faces = [right, left, middle]
    assert faces_by_number(faces, "") == [left, middle, right]
    assert faces_by_number(faces, "3, 1") == [right, left]


@pytest.mark.parametrize("numbers", ["4", "0", "1,1", "left", "1.5"])
def test_numbers_of_faces_that_are_not_there_are_refused(numbers):
    with pytest.raises(ValueError, match=r"is not one of the faces found, 1 to 1 from the left"):
        faces_by_number([face(0, 0, 9, 9)], numbers)
