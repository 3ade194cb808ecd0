"""prepare on real photographs, with a real detector and recognizer: the people in insightface's group photo."""

import cv2
import numpy as np
import pytest
from PIL import Image
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training import people
from withanyone_pack.tests.training.photo_changes import changed

from training.cache.entries import UNKNOWN
from training.preparing.preparing import prepare

ANNA, BEN, STRANGER = 3, 1, 4  # numbers in people.PEOPLE_PX


def photos_of(folder, number, count, seed):
    rng = np.random.default_rng(seed)
    for place in range(count):
        coded.save(folder / f"{place}.png", changed(people.person(number)[..., ::-1], rng, 0.7))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    photos_of(folder / "identities/anna", ANNA, 6, 1)
    photos_of(folder / "identities/ben", BEN, 6, 2)
    coded.save(folder / "identities/ben/astray.png", np.ascontiguousarray(people.person(STRANGER)[..., ::-1]))
    (folder / "groups").mkdir()
    cv2.imwrite(str(folder / "groups/friends.jpg"), people.group())
    coded.save(folder / "negatives/one.png", np.ascontiguousarray(people.person(0)[..., ::-1]))
    return folder


def models():
    return coded.models(faces=people.analysis(), second=None)


def test_people_are_told_apart_and_found_in_the_group(data, tmp_path):
    settings = coded.settings(data, tmp_path, sizes=(128, 192), max_faces=3)
    done = prepare(settings, models)
    cache = done.cache
    assert cache.identities == ("anna", "ben")
    assert [source.name for source, _, _ in done.naming.rejected] == ["identities/ben/astray.png"]
    group = next(image for image in cache.images if image.name == "groups/friends.jpg")
    found = {cache.faces[face.face].identity: cache.faces[face.face].box for face in group.crops[0].faces}
    assert set(found) == {0, 1, UNKNOWN}
    height, width = people.group().shape[:2]
    for identity, number in ((0, ANNA), (1, BEN)):
        x1, y1, x2, y2 = people.PEOPLE_PX[number]
        middle = (np.array(found[identity][:2]) + found[identity][2:]) / 2 * (width, height)
        assert x1 < middle[0] < x2
        assert y1 < middle[1] < y2
    assert len(cache.faces_of(0)) == len(cache.faces_of(1)) == 5
    # The embeddings of one person's photos agree with each other and not with the other's.
    units = cache.arcface / cache.arcface.norm(dim=1, keepdim=True)
    anna, ben = (units[[face for face in range(len(units)) if cache.faces[face].identity == who]] for who in (0, 1))
    assert (anna @ anna.T).min() > (anna @ ben.T).max()
    assert done.bank.foreign >= 2


def test_a_detector_finds_the_landmarks_where_the_crop_has_them(data, tmp_path):
    """Points mapped through the cut, against the same detector looking at the pixels that were encoded."""
    settings = coded.settings(data, tmp_path, sizes=(192,), crops=3, aspects=("1:1", "3:4"))
    done = prepare(settings, models)
    compared = 0
    for image, job in list(zip(done.cache.images, done.plan.jobs, strict=True))[:4]:
        photo = np.asarray(Image.open(image.source).convert("RGB"))
        for crop, cut in zip(image.crops, job.crops, strict=True):
            faces = people.analysis().faces(cut.pixels(photo))
            size = np.array((crop.width_px, crop.height_px))
            expected = crop.faces[0].landmarks * size
            distances = [np.abs(face.landmarks_px - expected).mean() for face in faces]
            assert min(distances, default=0.0) < 0.03 * size.max()
            compared += bool(faces)
    assert compared >= 6


def test_two_real_people_in_one_folder(tmp_path):
    photos_of(tmp_path / "data/identities/both/a", ANNA, 4, 3)
    photos_of(tmp_path / "data/identities/both/b", BEN, 4, 4)
    for path in (tmp_path / "data/identities/both").rglob("*.png"):
        path.rename(path.parent.parent / f"{path.parent.name}{path.name}")
    with pytest.raises(ValueError, match="The folder of both shows two people"):
        prepare(coded.settings(tmp_path / "data", tmp_path / "cache"), models)
