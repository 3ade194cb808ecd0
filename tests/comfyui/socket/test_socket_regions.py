"""Boxes and masks, and what cuts the image into parts: areas, tiles, context windows."""

import logging

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.adapter.random_adapter import ARC
from withanyone_pack.tests.comfyui.sampling import (
    LEFT,
    RIGHT,
    applied,
    difference,
    joins_tokens,
    latent_for,
    noise,
    person,
    prompt,
    sample,
    small_adapter,
    two_faces,
)
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui.injection import UNKNOWN_PART
from withanyone_pack.withanyone_core.regions.layout import Box, Layout, Mask, PlacedFace, place_in_box


def test_swapped_boxes_swap_the_people(base, adapter):
    first, second = two_faces()
    swapped = (PlacedFace(first.identity, RIGHT), PlacedFace(second.identity, LEFT))
    order = (PlacedFace(second.identity, LEFT), PlacedFace(first.identity, RIGHT))
    assert difference(sample(applied(base, adapter, swapped)), sample(applied(base, adapter))) > 0.02
    assert difference(sample(applied(base, adapter, swapped)), sample(applied(base, adapter, order))) < 1e-5


def test_a_mask_drawn_on_the_box_is_the_box(base, adapter):
    mask = torch.zeros(128, 160)
    mask[32:96, 16:64] = 1.0
    identity = person(1)
    by_mask = sample(applied(base, adapter, (PlacedFace(identity, Mask(mask)),)))
    by_box = sample(applied(base, adapter, (PlacedFace(identity, Box.from_px(16, 32, 64, 96, 160, 128)),)))
    assert torch.equal(by_mask, by_box)


def test_a_person_who_gets_no_cell_is_reported_once(base, adapter, caplog):
    thin = torch.zeros(128, 160)
    thin[:, 50] = 1.0
    faces = (PlacedFace(person(1, "Ada"), Mask(thin)), PlacedFace(person(2), RIGHT))
    with caplog.at_level(logging.WARNING, "withanyone"):
        sample(applied(base, adapter, faces))
    assert [record.getMessage() for record in caplog.records].count(caplog.records[0].getMessage()) == 1
    assert "“Ada” covers no 16-pixel cell" in caplog.text


@pytest.mark.parametrize(
    ("size", "latent", "stretched"),
    [
        ((160, 160), "160 x 128", True),
        ((128, 160), "160 x 128", True),
        ((320, 256), "", False),
        ((162, 128), "", False),
    ],
)
def test_a_layout_of_other_proportions_is_reported_once(base, adapter, caplog, size, latent, stretched):
    layout = Layout((LEFT, RIGHT), *size)
    faces = place_in_box(person(2), layout, earlier=place_in_box(person(1), layout))
    with caplog.at_level(logging.WARNING, "withanyone"):
        sample(applied(base, adapter, faces))
    said = f"The latent is {latent} pixels, of other proportions than the layout ({size[0]} x {size[1]})"
    assert [record.getMessage().startswith(said) for record in caplog.records] == [True] * stretched


def test_a_mask_has_no_proportions(base, adapter, caplog):
    with caplog.at_level(logging.WARNING, "withanyone"):
        sample(applied(base, adapter, (PlacedFace(person(1), Mask(torch.ones(160, 160))),)))
    assert caplog.records == []


def test_an_area_prompt_maps_the_boxes_into_its_crop(base, adapter, caplog):
    """Steering an area that holds the box equals steering an image of that size with the box moved."""
    patched = applied(base, adapter, (PlacedFace(person(1), Box.from_px(96, 32, 128, 64, 160, 128)),))
    crops = []
    patched.set_model_unet_function_wrapper(record_call(crops))
    area = prompt(0, area=(4, 5, 2, 5) if joins_tokens(base) else (8, 10, 4, 10))
    with caplog.at_level(logging.WARNING, "withanyone"):
        sample(patched, area, sigmas=(1.0, 0.0))
    inside = applied(base, adapter, (PlacedFace(person(1), Box.from_px(16, 0, 48, 32, 80, 64)),))
    alone = []
    inside.set_model_unet_function_wrapper(record_call(alone))
    sample(inside, start=noise()[..., 4:12, 10:20], sigmas=(1.0, 0.0))
    assert crops[0].shape == alone[0].shape == latent_for(base, noise()[..., 4:12, 10:20]).shape
    assert difference(crops[0], alone[0]) < 1e-5
    assert caplog.records == []


def record_call(outputs):
    def wrapper(apply_model, call):
        outputs.append(apply_model(call["input"], call["timestep"], **call["c"]))
        return outputs[-1]

    return wrapper


def test_tiles_switch_the_adapter_off_with_one_warning(base, adapter, caplog):
    def tiled(apply_model, call):
        halves = call["input"].chunk(2, dim=-1)
        return torch.cat([apply_model(half, call["timestep"], **call["c"]) for half in halves], dim=-1)

    patched, plain = applied(base, adapter), base.clone()
    for model in (patched, plain):
        model.set_model_unet_function_wrapper(tiled)
    with caplog.at_level(logging.WARNING, "withanyone"):
        tiles = sample(patched)
    assert torch.equal(tiles, sample(plain))
    assert len(caplog.records) == 1
    assert "tiled sampling" in caplog.text


@pytest.mark.parametrize("base", ["flux.1"], indirect=True)
def test_an_edit_adapter_without_a_reference_and_the_reverse_are_mentioned_once(base, adapter, tmp_path, caplog):
    (tmp_path / "ke").mkdir()
    edit = small_adapter(tmp_path / "ke", (ARC,), layout="single")
    cases = [
        (edit, {}, "one ArcFace branch, like Ke"),
        (edit, {"reference_latents": [noise(7)]}, None),
        (adapter, {}, None),
        (adapter, {"reference_latents": [noise(7)]}, "There is a Kontext reference"),
    ]
    for which, extras, words in cases:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "withanyone"):
            sample(applied(base, which, weights={Branch.ARC: 1.0}), prompt(0, **extras))
        assert len(caplog.records) == (words is not None)
        assert words is None or words in caplog.text


@pytest.mark.parametrize("base", ["flux.2"], indirect=True)
def test_a_reference_is_nothing_to_edit_where_every_model_takes_some(base, adapter, tmp_path, caplog):
    (tmp_path / "single").mkdir()
    single = small_adapter(tmp_path / "single", (ARC,), layout="single")
    with caplog.at_level(logging.WARNING, "withanyone"):
        for which, extras in ((single, {}), (adapter, {"reference_latents": [noise(7)]})):
            sample(applied(base, which, weights={Branch.ARC: 1.0}), prompt(0, **extras))
    assert caplog.records == []


def test_context_windows_over_the_width_switch_it_off_with_one_warning(base, adapter, caplog):
    from comfy import context_windows as windows

    def windowed(model):
        model = model.clone()
        model.model_options["context_handler"] = windows.IndexListContextHandler(
            windows.get_matching_context_schedule(windows.ContextSchedules.STATIC_STANDARD),
            windows.get_matching_fuse_method(windows.ContextFuseMethods.FLAT),
            context_length=6 if joins_tokens(base) else 12,
            context_overlap=2 if joins_tokens(base) else 4,
            dim=3,
        )
        return model

    with caplog.at_level(logging.WARNING, "withanyone"):
        patched = sample(windowed(applied(base, adapter)))
    assert torch.equal(patched, sample(windowed(base)))
    assert [record.getMessage() for record in caplog.records] == [UNKNOWN_PART]
