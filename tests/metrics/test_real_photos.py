"""Real photographs, a real detector and a real recognizer: the test bed's stand-ins for antelopev2."""

import os

import numpy as np
import pytest
from PIL import Image
from withanyone_pack.tests.comfyui.photos import GROUP, images
from withanyone_pack.tests.pack import TESTBED, add_comfyui

os.environ.setdefault("WITHANYONE_TESTBED", str(TESTBED))
add_comfyui()

from withanyone_pack.tests.comfyui.standins.standin_faces import StandinFaces
from withanyone_pack.withanyone_core.metrics.cache import ArrayStore, CachedAnalysis
from withanyone_pack.withanyone_core.metrics.case import Case, FaceEmbeddings
from withanyone_pack.withanyone_core.metrics.scoring import score_case


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    return CachedAnalysis(StandinFaces(), "stand-ins", ArrayStore(tmp_path_factory.mktemp("cache") / "faces.sqlite"))


@pytest.fixture(scope="module")
def photo():
    return np.asarray(Image.open(images() / GROUP).convert("RGB"))


@pytest.fixture(scope="module")
def group(photo, analysis):
    """The six people of the group photo from left to right."""
    found = sorted(analysis.faces(photo), key=lambda face: face.box_px[0])
    assert len(found) == 6
    return found


@pytest.fixture(scope="module")
def softened(photo, group, analysis):
    """Each person's own reference image: cut out, turned by a few degrees, at half its size."""
    return tuple(FaceEmbeddings.of(analysis.faces(_cut(photo, face.box_px))) for face in group)


def _cut(photo, box_px):
    x1, y1, x2, y2 = box_px
    room = 0.6 * (x2 - x1)
    area = tuple(round(side) for side in (x1 - room, y1 - room, x2 + room, y2 + room))
    cut = Image.fromarray(photo).crop(area).rotate(7, Image.Resampling.BICUBIC)
    return np.asarray(cut.resize((cut.width // 2, cut.height // 2), Image.Resampling.LANCZOS))


def seen(analysis, photo):
    return FaceEmbeddings.of(analysis.faces(photo))


@pytest.fixture(scope="module")
def itself(photo, analysis, softened):
    return Case("group", seen(analysis, photo), seen(analysis, photo), softened)


def test_every_reference_shows_its_one_person(softened):
    assert [reference.count for reference in softened] == [1] * 6


def test_a_photo_against_itself(itself):
    scores = score_case(itself)
    assert scores.lost == scores.extra_faces == ()
    assert scores.sim_gt == pytest.approx(1.0, abs=1e-6)
    assert scores.copy_paste == pytest.approx(-1.0, abs=5e-3)
    assert 0.5 < scores.sim_ref < 0.98
    assert scores.blending < 0.35
    assert scores.leakage < 0.35


def test_people_are_told_apart_each_at_their_place(itself, group):
    scores = score_case(itself)
    places = [itself.generated.boxes_px[one.face][0] for one in scores.identities]
    assert np.allclose(places, [face.box_px[0] for face in group])
    for k, row in enumerate(scores.likeness_ref):
        assert np.argmax(row) == k


def test_boxes_and_likeness_agree_on_a_real_photo(itself, group):
    boxes = tuple(face.box_px for face in group)
    placed = score_case(Case("group", itself.generated, itself.truth, itself.references, boxes, boxes))
    assert placed.method == "boxes"
    assert [one.face for one in placed.identities] == [one.face for one in score_case(itself).identities]


def test_a_photo_against_its_own_references(itself, softened):
    pasted = FaceEmbeddings(*(np.concatenate([getattr(one, part) for one in softened]) for part in vars(softened[0])))
    scores = score_case(Case("pasted", pasted, itself.truth, softened))
    assert scores.sim_ref == pytest.approx(1.0, abs=1e-6)
    assert scores.copy_paste == pytest.approx(1.0, abs=5e-3)


def test_a_mirrored_photo_shows_the_same_people_at_mirrored_places(photo, analysis, itself, group):
    mirrored = seen(analysis, np.ascontiguousarray(photo[:, ::-1]))
    scores = score_case(Case("mirrored", mirrored, itself.truth, itself.references))
    assert scores.found == 6
    assert all(one.sim_gt > 0.5 for one in scores.identities)
    for one, face in zip(scores.identities, group, strict=True):
        left, right = mirrored.boxes_px[one.face][[0, 2]]
        assert (left + right) / 2 == pytest.approx(photo.shape[1] - (face.box_px[0] + face.box_px[2]) / 2, abs=8)
    assert scores.sim_gt < 0.99


def test_half_a_photo_loses_the_other_half(photo, analysis, itself):
    half = seen(analysis, np.ascontiguousarray(photo[:, : photo.shape[1] // 2]))
    scores = score_case(Case("half", half, itself.truth, itself.references))
    assert 0 < half.count < 6
    assert scores.found == half.count
    assert scores.sim_gt == pytest.approx(half.count / 6, abs=0.05)


def test_a_stranger_gets_no_likeness(photo, analysis, itself, softened):
    scores = score_case(
        Case("strangers", softened[0], None, softened[1:2])  # the first person's image, though the second is meant
    )
    assert scores.sim_ref < 0.5
    assert scores.found == 1
