import sqlite3

import numpy as np
import pytest
from withanyone_pack.withanyone_core.identity import Face
from withanyone_pack.withanyone_core.metrics import cache
from withanyone_pack.withanyone_core.metrics.cache import ArrayStore, CachedAnalysis, CachedJudge, photo_key
from withanyone_pack.withanyone_core.metrics.case import JudgeInfo

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


class Counting:
    """An analysis and a judge that count how often they are asked."""

    info, fingerprint = JudgeInfo("counting"), "one"

    def __init__(self, faces: int = 2) -> None:
        self.asked = 0
        self.count = faces

    def faces(self, photo):
        self.asked += 1
        points = np.arange(10, dtype=np.float32).reshape(5, 2)
        embedding = np.full(512, photo.mean(), np.float32)
        return tuple(Face((0.1, 1.0, 2.0, 3.0), 0.9, points + index, embedding) for index in range(self.count))

    def embed(self, photo, faces):
        self.asked += 1
        return np.stack([face.landmarks_px.ravel() for face in faces]).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_image_is_looked_at_once_by_any_number_of_readers(tmp_path, count):
    analysis = Counting(count)
    first = CachedAnalysis(analysis, "d", ArrayStore(tmp_path / "deep" / "cache.sqlite")).faces(PHOTO)
    again = CachedAnalysis(analysis, "d", ArrayStore(tmp_path / "deep" / "cache.sqlite")).faces(PHOTO.copy())
    assert analysis.asked == 1
    assert [face.box_px for face in again] == [face.box_px for face in first]
    assert [face.score for face in again] == [face.score for face in first]
    assert all(np.array_equal(a.landmarks_px, b.landmarks_px) for a, b in zip(again, first, strict=True))
    assert all(np.array_equal(a.embedding, b.embedding) for a, b in zip(again, first, strict=True))


def test_another_detector_image_shape_or_pixel_is_looked_at_again(tmp_path):
    store, analysis = ArrayStore(tmp_path / "cache.sqlite"), Counting()
    CachedAnalysis(analysis, "d", store).faces(PHOTO)
    CachedAnalysis(analysis, "other", store).faces(PHOTO)
    changed = PHOTO.copy()
    changed[0, 0, 0] ^= 1
    CachedAnalysis(analysis, "d", store).faces(changed)
    CachedAnalysis(analysis, "d", store).faces(PHOTO.reshape(30, 20, 3))
    assert analysis.asked == 4


def test_embeddings_depend_on_image_landmarks_and_judge(tmp_path):
    store, judge = ArrayStore(tmp_path / "cache.sqlite"), Counting()
    faces = Counting().faces(PHOTO)
    first = CachedJudge(judge, store).embed(PHOTO, faces)
    assert np.array_equal(CachedJudge(judge, store).embed(PHOTO, faces), first)
    assert judge.asked == 1
    CachedJudge(judge, store).embed(PHOTO, faces[::-1])
    CachedJudge(judge, store).embed(PHOTO[:-1], faces)
    judge.fingerprint = "two"
    CachedJudge(judge, store).embed(PHOTO, faces)
    assert judge.asked == 4
    assert CachedJudge(judge, store).info == judge.info


def test_a_view_of_a_photo_has_the_photos_key():
    assert photo_key(PHOTO[:, ::-1][:, ::-1]) == photo_key(PHOTO)


def test_the_last_photos_key_is_made_once_and_no_other_photo_gets_it(tmp_path, monkeypatch):
    store, made = ArrayStore(tmp_path / "cache.sqlite"), []
    original = cache.photo_key
    monkeypatch.setattr(cache, "photo_key", lambda photo: made.append(1) or original(photo))
    other = PHOTO.copy()
    other[0, 0] += 1
    assert [store.key_of(photo) for photo in (PHOTO, PHOTO, other, PHOTO)] == [
        original(PHOTO),
        original(PHOTO),
        original(other),
        original(PHOTO),
    ]
    assert len(made) == 3


def test_a_damaged_entry_is_measured_again(tmp_path, caplog):
    path, analysis = tmp_path / "cache.sqlite", Counting()
    cached = CachedAnalysis(analysis, "d", ArrayStore(path))
    cached.faces(PHOTO)
    with sqlite3.connect(path) as connection:
        connection.execute("update kept set arrays = ?", (b"short",))
    connection.close()
    assert len(cached.faces(PHOTO)) == 2
    assert analysis.asked == 2
    assert "damaged" in caplog.text


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database, it only looks like one from afar" * 40)
    with pytest.raises(ValueError, match="Delete it"):
        ArrayStore(path)


def test_an_entry_is_replaced_whole_or_not_at_all(tmp_path):
    store = ArrayStore(tmp_path / "cache.sqlite")
    store.put("p", "m", {"a": np.ones(3)})
    connection = sqlite3.connect(tmp_path / "cache.sqlite", isolation_level=None)
    connection.execute("begin immediate")
    connection.execute("delete from kept")
    assert store.get("p", "m")["a"].tolist() == [1, 1, 1]  # another process is in the middle of a write
    connection.close()  # and dies
    assert store.get("p", "m")["a"].tolist() == [1, 1, 1]
    assert store.get("p", "other") is None
