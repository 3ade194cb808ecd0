"""Thirty people, one box for several, and boxes for nobody, from the Layout node to the sampled latent."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.layout import WithAnyoneLayout, WithAnyonePlaceFace
from withanyone_pack.tests.comfyui.sampling import applied, noise, person, sample, small_adapter
from withanyone_pack.tests.comfyui.small_flux import small_flux
from withanyone_pack.withanyone_core.regions.layout import Layout

WIDE = {"height": 16, "width": 64}  # 32 x 8 cells
CROWD = 30


@pytest.fixture
def row(tmp_path, monkeypatch):
    """The Layout node's row of thirty on 512 x 128 pixels."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return WithAnyoneLayout.execute(512, 128, CROWD, 0, "").result[0]


def chain(layout, boxes, first=0):
    """One Place Face node a person."""
    faces = ()
    for number, box in enumerate(boxes, start=first):
        faces = WithAnyonePlaceFace.execute(person(number, f"P{number}"), 1.0, box, layout, None, faces).result[0]
    return faces


def test_the_widgets_admit_a_crowd():
    limits = {entry.id: entry.max for entry in WithAnyoneLayout.GET_SCHEMA().inputs if entry.id == "people"}
    limits |= {entry.id: entry.max for entry in WithAnyonePlaceFace.GET_SCHEMA().inputs if entry.id == "box"}
    assert limits == {"people": 99, "box": 99}


def test_thirty_people_in_a_row(row, tmp_path):
    base, adapter = small_flux(), small_adapter(tmp_path)
    faces = chain(row, [0] * CROWD)
    assert [face.box_number for face in faces] == list(range(1, CROWD + 1))
    start = noise(**WIDE)
    crowd = sample(applied(base, adapter, faces), start=start)
    assert crowd.isfinite().all()
    assert (crowd - sample(base, start=start)).abs().max() > 0.05
    # Nobody depends on a place in the chain, and the last one counts as the first does.
    assert torch.allclose(sample(applied(base, adapter, faces[::-1]), start=start), crowd, atol=1e-5)
    for missing in (0, CROWD - 1):
        others = faces[:missing] + faces[missing + 1 :]
        assert (sample(applied(base, adapter, others), start=start) - crowd).abs().max() > 1e-3


def test_thirty_people_in_one_box_share_it(row, tmp_path, caplog):
    faces = chain(row, [1] * CROWD)
    assert sum("shares box 1" in record.getMessage() for record in caplog.records) == CROWD - 1
    start = noise(**WIDE)
    shared = sample(applied(small_flux(), small_adapter(tmp_path), faces), start=start)
    assert shared.isfinite().all()
    assert (shared - sample(small_flux(), start=start)).abs().max() > 0.01


def test_one_more_than_there_are_boxes_is_refused(row):
    with pytest.raises(ValueError, match=r"No box is free for P99: the layout has 30 boxes \(1 to 30\), all taken"):
        WithAnyonePlaceFace.execute(person(0, "P99"), 1.0, 0, row, None, chain(row, [0] * CROWD))


def test_boxes_without_anybody_stay_empty(row, tmp_path):
    base, adapter, start = small_flux(), small_adapter(tmp_path), noise(**WIDE)
    alone = Layout((row.boxes[6],), row.width_px, row.height_px)
    expected = sample(applied(base, adapter, chain(alone, [1])), start=start)
    assert torch.equal(sample(applied(base, adapter, chain(row, [7])), start=start), expected)
