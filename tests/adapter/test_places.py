"""An adapter trained on few places says so, and who stands elsewhere is named."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import random_adapter, random_tensors
from withanyone_pack.tests.identities.test_identity_file import person
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFileError, inspect_adapter
from withanyone_pack.withanyone_core.adapter.places import places_header, places_of, warn_of_unknown_places
from withanyone_pack.withanyone_core.regions.layout import Box, Mask, PlacedFace

LEFT, RIGHT = Box.from_px(0, 32, 80, 112, 176, 176), Box.from_px(96, 32, 176, 112, 176, 176)


def trained_on(path, header):
    save_file(random_tensors(), path / "few.safetensors", metadata=header)
    return inspect_adapter(path / "few.safetensors")


@pytest.fixture
def file(tmp_path):
    return trained_on(tmp_path, places_header([LEFT, RIGHT], 176, 176))


def warnings(caplog, file, *faces):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_places(faces, file)
    return [record.getMessage() for record in caplog.records]


def in_px(*box_px, name="Ann", **others):
    return PlacedFace(person(name), Box.from_px(*box_px, 176, 176), **others)


def test_the_header_gives_the_places_back(file, tmp_path):
    places = places_of(file)
    assert (places.boxes, places.width_px, places.height_px) == ((LEFT, RIGHT), 176, 176)
    assert places_of(inspect_adapter(random_adapter(tmp_path / "any.safetensors"))) is None


def test_whoever_stands_in_a_known_place_is_not_named(file, caplog):
    assert not warnings(caplog, file, in_px(0, 32, 80, 112), in_px(96, 32, 176, 112))
    # the same cells: what the model sees of a box
    assert not warnings(caplog, file, in_px(1, 33, 80, 112))
    mask = torch.zeros(11, 11)
    mask[2:7, 6:11] = 1
    assert not warnings(caplog, file, PlacedFace(person("Ann"), Mask(mask)))


def test_one_warning_names_everybody_elsewhere_and_the_nearest_place(file, caplog):
    faces = in_px(16, 48, 96, 128), in_px(96, 32, 176, 112, name="Bob"), in_px(64, 0, 160, 80, name="Eve")
    (warning,) = warnings(caplog, file, *faces)
    assert "“Ann” stands in 16, 48, 96, 128 (the nearest place is 0, 32, 80, 112)" in warning
    assert "“Eve” stands in 64, 0, 160, 80 (the nearest place is 96, 32, 176, 112)" in warning
    assert "Bob" not in warning
    assert "none of the 2 places that few.safetensors was trained on, in pixels of a 176x176 canvas" in warning


def test_a_mask_is_compared_by_its_cells(file, caplog):
    mask = torch.zeros(11, 11)
    mask[0:5, 6:11] = 1
    (warning,) = warnings(caplog, file, PlacedFace(person("Ann"), Mask(mask)))
    assert "“Ann” stands in a painted mask (the nearest place is 96, 32, 176, 112)" in warning


def test_nobody_is_named_who_is_left_out_or_whose_adapter_knows_every_place(file, tmp_path, caplog):
    assert not warnings(caplog, file, in_px(16, 48, 96, 128, weight=0.0))
    any_place = inspect_adapter(random_adapter(tmp_path / "any.safetensors"))
    assert not warnings(caplog, any_place, in_px(16, 48, 96, 128))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"withanyone.places_canvas": "small"}, r"reads 'small'; expected width and height in pixels such as 176x176"),
        ({"withanyone.places": "[[0, 0, 80, 80]]"}, r"withanyone\.places in its header cannot be read\. .*pixels"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, change, message):
    file = trained_on(tmp_path, places_header([LEFT], 176, 176) | change)
    with pytest.raises(AdapterFileError, match=message):
        places_of(file)
