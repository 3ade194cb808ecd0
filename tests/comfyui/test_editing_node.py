import numpy as np
import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.nodes.editing import PrepareFaceEdit
from withanyone_pack.withanyone_core.identity import Face


class TwoFaces:
    def faces(self, photo):
        boxes = [(250.0, 40.0, 380.0, 180.0), (20.0, 30.0, 140.0, 150.0)]
        return tuple(Face(box, 0.9, np.zeros((5, 2), np.float32), np.zeros(512, np.float32)) for box in boxes)


class NoFaces:
    def faces(self, photo):
        return ()


def test_widgets_keep_their_order():
    names = [entry.id for entry in PrepareFaceEdit.GET_SCHEMA().inputs]
    assert names == ["image", "face_analysis", "which_faces", "smallest_px"]


def test_it_gives_the_image_its_places_and_its_size():
    done = PrepareFaceEdit.execute(torch.rand(1, 330, 410, 3), TwoFaces(), "", 100)
    image, layout, width, height, count = done.result
    assert image.shape == (1, 320, 400, 3)
    assert (width, height, count) == (400, 320, 2)
    assert layout.boxes[0].x1 < layout.boxes[1].x1
    assert "images" in done.ui


def test_one_of_the_faces_may_be_chosen_and_small_ones_are_mentioned():
    done = PrepareFaceEdit.execute(torch.rand(1, 330, 410, 3), TwoFaces(), "2", 135)
    assert done.result[4] == 1
    assert done.ui["text"] == ("Left sharp, being smaller than 135 pixels: face 1",)


def test_a_image_without_faces_and_a_batch_are_refused_with_a_message():
    with pytest.raises(ValueError, match="shows no face to edit"):
        PrepareFaceEdit.execute(torch.rand(1, 64, 64, 3), NoFaces(), "", 100)
    with pytest.raises(ValueError, match="image holds 2 images; a face edit takes one"):
        PrepareFaceEdit.execute(torch.rand(2, 64, 64, 3), TwoFaces(), "", 100)
