"""Layouts from the faces of a guide image, and the box whose face is most like a person."""

import numpy as np
import pytest
import torch
from withanyone_pack.withanyone_core.identity import Face, Identity
from withanyone_pack.withanyone_core.regions.guide import CROP, STRETCH, Fit, layout_from_faces
from withanyone_pack.withanyone_core.regions.layout import Box, Layout, place_in_box
from withanyone_pack.withanyone_core.regions.matching import best_box

GUIDE_PX = (400, 200)


def embedding(seed):
    return np.random.default_rng(seed).normal(size=512).astype(np.float32)


def face(x1, side, score, seed=0, y1=60):
    return Face((x1, y1, x1 + side, y1 + side), score, np.zeros((5, 2), np.float32), embedding(seed))


def person(seed, name="Ann", noise=0.0, **more):
    arcface = torch.from_numpy(embedding(seed) + noise * embedding(99))
    return Identity(name, arcface, None, torch.zeros(512, 512, 3), **more)


MIDDLE, LEFT, RIGHT = face(180, 60, 0.9, 1), face(20, 20, 0.8, 2), face(300, 80, 0.7, 3)
THREE = (MIDDLE, LEFT, RIGHT)


def made(faces=THREE, canvas=(400, 200), order="left to right", most=0, fit=STRETCH):
    return layout_from_faces(faces, GUIDE_PX, canvas, order, most, Fit.of(fit, GUIDE_PX, canvas), "a/b.onnx")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("left to right", (LEFT, MIDDLE, RIGHT)),
        ("largest first", (RIGHT, MIDDLE, LEFT)),
        ("best score", (MIDDLE, LEFT, RIGHT)),
    ],
)
def test_boxes_are_the_faces_in_their_order_with_their_embeddings(order, expected):
    found = made(order=order)
    layout = found.layout
    assert [box.to_px(400, 200) for box in layout.boxes] == [face.box_px for face in expected]
    assert np.array_equal(layout.embeddings.numpy(), np.stack([face.embedding for face in expected]))
    assert (layout.width_px, layout.height_px, layout.face_model) == (400, 200, "a/b.onnx")
    assert found.remarks == ()
    assert len(made(order=order, most=2).layout.boxes) == 2
    assert made(order=order, most=2).layout.boxes == layout.boxes[:2]
    assert torch.equal(made(order=order, most=2).layout.embeddings, layout.embeddings[:2])


@pytest.mark.parametrize("fit", [CROP, STRETCH])
def test_a_canvas_of_the_same_proportions_only_scales(fit):
    doubled = made(canvas=(800, 400), fit=fit)
    assert [box.to_px(800, 400) for box in doubled.layout.boxes] == [
        tuple(2 * edge for edge in face.box_px) for face in (LEFT, MIDDLE, RIGHT)
    ]


def test_stretching_keeps_everybody_and_the_fractions():
    assert made(canvas=(200, 200)).layout.boxes == made().layout.boxes


def test_cropping_keeps_proportions_and_reports_who_is_cut():
    # 400 x 200 on 200 x 200: the middle 200 columns stay, from 100 to 300.
    faces = (MIDDLE, LEFT, face(270, 50, 0.6, 4))
    found = made(faces, canvas=(200, 200), fit=CROP)
    assert [box.to_px(200, 200) for box in found.layout.boxes] == [(80, 60, 140, 120), (170, 60, 200, 110)]
    assert found.remarks == (
        "The face at 20, 60, 40, 80 of the guide image lies outside the canvas and is left out.",
        "Box 2 is cut off at the edge of the canvas.",
    )
    assert np.array_equal(found.layout.embeddings.numpy(), np.stack([embedding(1), embedding(4)]))


def test_cropping_a_high_canvas_cuts_the_sides_and_a_wide_one_top_and_bottom():
    assert Fit.of(CROP, (100, 100), (100, 200)) == Fit((2.0, 1.0), (-0.5, 0.0))
    assert Fit.of(CROP, (100, 100), (200, 100)) == Fit((1.0, 2.0), (0.0, -0.5))


@pytest.mark.parametrize("canvas", [(200, 200), (400, 100), (320, 480)])
@pytest.mark.parametrize("fit", [CROP, STRETCH])
def test_boxes_lie_on_the_image_where_the_faces_do(fit, canvas):
    guide = np.zeros((200, 400, 3), np.uint8)
    guide[60:120, 180:240] = 255
    fitted = Fit.of(fit, GUIDE_PX, canvas)
    shown = fitted.image(guide, canvas)
    assert shown.shape == (canvas[1], canvas[0], 3)
    x1, y1, x2, y2 = fitted.box(MIDDLE.box_px, GUIDE_PX).to_px(*canvas)
    rows, columns = np.nonzero(shown[..., 0] > 127)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == pytest.approx((x1, y1, x2, y2), abs=1)


def test_nothing_is_left_to_chance():
    assert made(canvas=(320, 480), fit=CROP) == made(canvas=(320, 480), fit=CROP)


def test_mistakes_are_refused_with_a_message():
    words = (
        r'All 1 faces of the guide image lie outside the 100x200 canvas after "crop to fill". Choose "stretch", or a '
        r"canvas with the proportions of the image \(400x200\)"
    )
    with pytest.raises(ValueError, match=words):
        made((LEFT,), canvas=(100, 200), fit=CROP)
    with pytest.raises(ValueError, match="The fit is 'cover'; expected one of crop to fill, stretch"):
        made(fit="cover")
    with pytest.raises(ValueError, match="The order is 'random'; expected one of left to right, largest first, best"):
        made(order="random")
    with pytest.raises(ValueError, match=r"max_people is -1; expected 0 \(everybody\) or more"):
        made(most=-1)


@pytest.mark.parametrize(("seed", "number"), [(2, 1), (1, 2), (3, 3)])
def test_the_best_box_is_that_of_the_face_most_alike(seed, number):
    assert best_box(person(seed, noise=1.5), made().layout) == number


def test_a_taken_box_is_no_match():
    layout = made().layout
    faces = place_in_box(person(1), layout, best_box(person(1), layout))
    second = best_box(person(1), layout, [face.box_number for face in faces])
    likeness = {
        number: embedding(1) @ embedding(seed) / np.linalg.norm(embedding(seed)) for number, seed in ((1, 2), (3, 3))
    }
    assert (faces[0].box_number, second) == (2, max(likeness, key=likeness.get))
    with pytest.raises(ValueError, match=r"No box is free for Ann: all 3 of the layout are taken. Use a guide image"):
        best_box(person(1), layout, [1, 2, 3])


def test_a_match_needs_faces_of_the_same_recognizer():
    plain = Layout((Box(0, 0, 1, 1),), 64, 64)
    words = (
        r"The best match was asked for Ann \(box -1\), but the layout's boxes have no faces to compare with. Use Lay"
    )
    with pytest.raises(ValueError, match=words):
        best_box(person(1), plain)
    with pytest.raises(
        ValueError, match=r"of Ann was made by c/d.onnx, that of the layout by a/b.onnx; such embeddings"
    ):
        best_box(person(1, face_model="c/d.onnx"), made().layout)
    assert best_box(person(1, face_model="a/b.onnx"), made().layout) == 2
