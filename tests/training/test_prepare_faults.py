"""Data folders with faults: what is refused, what is left out, and what is said about it."""

import logging

import pytest
import torch
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.prepared import prepared

from training.cache import shards
from training.cache.entries import UNKNOWN
from training.cache.files import read_cache
from training.preparing.preparing import prepare


def test_no_photos(tmp_path):
    (tmp_path / "data/identities/alice").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"No photos were found in .*Put 10 to 50 photos of each person into"):
        prepared(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no data folder"):
        prepare(coded.settings(tmp_path / "nothing", tmp_path / "cache"), coded.models)


def test_only_group_photos(tmp_path):
    coded.save(tmp_path / "data/groups/one.png", coded.photo((1, 1)))
    with pytest.raises(ValueError, match="but nobody's own"):
        prepared(tmp_path)


def test_one_photo(tmp_path):
    coded.save(tmp_path / "data/identities/alice/one.png", coded.photo((1, 1)))
    with pytest.raises(ValueError, match=r"Nobody has two usable photos \(alice: 1\).*can only be copied"):
        prepared(tmp_path)


def test_one_photo_beside_a_person_with_many(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    coded.save(data / "identities/carol/one.png", coded.photo((3, 1)))
    with caplog.at_level(logging.WARNING):
        done = prepared(tmp_path)
    assert "carol: 1 usable photo, which can only be copied" in caplog.text
    assert done.findings.people[2].risk == 1.0


def test_no_photo_can_be_read(tmp_path):
    (tmp_path / "data/identities/alice").mkdir(parents=True)
    (tmp_path / "data/identities/alice/a.jpg").write_bytes(b"nothing")
    with pytest.raises(
        ValueError,
        match=r"None of the photos can be used\. Not usable: .*a\.jpg: it cannot be read \(it is no",
    ):
        prepared(tmp_path)


def test_two_people_in_one_folder(tmp_path):
    for number in range(1, 7):
        person = 1 if number < 4 else 2
        coded.save(tmp_path / f"data/identities/alice/{number}.png", coded.photo((person, number), seed=number))
    with pytest.raises(
        ValueError, match=r"folder of alice shows two people: one in 3 photos \(.*1\.png.*another in .*4\.png"
    ):
        prepared(tmp_path)


def test_two_people_in_a_small_folder(tmp_path):
    for number in range(1, 5):
        person = 1 if number < 3 else 2
        coded.save(tmp_path / f"data/identities/alice/{number}.png", coded.photo((person, number), seed=number))
    with pytest.raises(ValueError, match="folder of alice shows two people"):
        prepared(tmp_path)


def test_a_folder_whose_faces_disagree(tmp_path):
    data = coded.two_people(tmp_path / "data")
    for number in range(5):
        coded.save(data / f"identities/carol/{number}.png", coded.photo((30 + number, 1), seed=60 + number))
    with pytest.raises(
        ValueError, match=r"faces in the folder of carol disagree: of 5 photos only 0 show the same face"
    ):
        prepared(tmp_path)


def test_a_folder_whose_faces_disagree_is_left_out_where_that_is_asked_for(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    for number in range(5):
        coded.save(data / f"identities/carol/{number}.png", coded.photo((30 + number, 1), seed=60 + number))
    with caplog.at_level(logging.WARNING):
        cache = prepared(tmp_path, unclear_folders="leave_out").cache
    assert cache.identities == ("alice", "bob")
    assert "faces in the folder of carol disagree" in caplog.text


def test_a_friend_in_many_photos_is_no_second_person(tmp_path):
    for number in range(1, 7):
        name = f"data/identities/alice/{number}.png"
        faces = ((1, number), (9, number)) if number < 6 else ((1, number),)
        coded.save(tmp_path / name, coded.photo(*faces, seed=number, width=256))
    cache = prepared(tmp_path).cache
    assert len(cache.faces_of(0)) + len(cache.faces_of(0, held_out=True)) == 6
    assert sum(face.identity == UNKNOWN for face in cache.faces) == 5


def test_one_person_in_two_folders(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    for number in range(1, 4):
        coded.save(data / f"identities/alicia/{number}.png", coded.photo((1, 60 + number), seed=60 + number))
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path)
    assert "alice and alicia look like one person" in caplog.text


def test_no_negatives(tmp_path, caplog):
    coded.two_people(tmp_path / "data", negatives=0)
    (tmp_path / "data/groups/three.png").unlink()
    with caplog.at_level(logging.WARNING):
        done = prepared(tmp_path)
    assert "There are no negatives" in caplog.text
    assert "512 random embeddings stand in" in caplog.text
    assert done.bank.filled == 512


def test_a_full_disk(tmp_path, monkeypatch):
    data = coded.two_people(tmp_path / "data")
    prepared(tmp_path)
    arcface = read_cache(tmp_path / "cache").arcface
    coded.save(data / "identities/alice/7.png", coded.photo((1, 7), seed=7))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shards.os, "fsync", full)
        with pytest.raises(
            OSError, match=r"could not be written \(No space left on device\).*resumes where it stopped"
        ):
            prepared(tmp_path)
    assert torch.equal(read_cache(tmp_path / "cache").arcface, arcface)
    assert len(prepared(tmp_path).cache.faces) == len(arcface) + 1


def test_a_folder_of_something_else(tmp_path):
    coded.two_people(tmp_path / "data")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/cache.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="is no cache header of this program"):
        prepared(tmp_path)
    with pytest.raises(ValueError, match="would lie among the photos"):
        prepare(coded.settings(tmp_path / "data", tmp_path), coded.models)


def test_a_model_that_gives_no_numbers(tmp_path):
    class Broken(coded.SmallImages):
        def encode(self, pixels):
            mean, logvar = super().encode(pixels)
            return mean * float("nan"), logvar

    coded.two_people(tmp_path / "data")
    with pytest.raises(ValueError, match=r"not finite for identities/alice/1\.png"):
        prepared(tmp_path, coded.models(image=Broken()))
