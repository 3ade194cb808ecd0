"""A prepared cache: what is written is what is read, whole or not at all."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()

from training.cache import files, shards
from training.cache.cache import Cache
from training.cache.entries import UNKNOWN, CropEntry, CropFace, FaceRecord, ImageEntry, Negatives
from training.cache.files import read_cache

POINTS = np.array([[0.3, 0.4], [0.7, 0.41], [0.5, 0.6], [0.35, 0.8], [0.65, 1 / 3]], np.float32)


def small_cache(tensors) -> Cache:
    """Two images of one person and a stranger; the names of its tensors are those of `small_tensors`."""
    box = (0.1, 0.2, 1 / 3, 0.7)
    crop = CropEntry(64, 48, (CropFace(0, box, POINTS), CropFace(1, (0.5, 0.2, 0.9, 0.7), POINTS)), "latent")
    second = CropEntry(48, 64, (CropFace(2, box, POINTS),), "latent")
    return Cache(
        identities=("alice",),
        images=(
            ImageEntry(0, "alice/ä.jpg", "/data/ä.jpg", "00ff", "two friends", (crop,), text="text"),
            ImageEntry(1, "alice/b.jpg", "/data/b.jpg", "01ff", "", (second,), held_out=True, text="text"),
        ),
        faces=(
            FaceRecord(0, 0, box, POINTS, ("small",), "face"),
            FaceRecord(UNKNOWN, 0, box, POINTS, (), "face"),
            FaceRecord(0, 1, box, POINTS),
        ),
        arcface=torch.randn(3, 512),
        negatives=Negatives(torch.randn(5, 512), torch.tensor([0, -1, -1, -2, -2], dtype=torch.int32)),
        dummies=("text", "text"),
        tensors=tensors,
        second=torch.randn(3, 7),
        fingerprints={"vae": "abc"},
        data="d1",
        files={"ae.safetensors": "12" * 32},
    )


def small_tensors() -> dict[str, torch.Tensor]:
    names = {"latent.mean": (16, 6, 8), "latent.logvar": (16, 6, 8), "text.t5": (5, 12), "text.pooled": (9,)}
    names |= {"face.tokens": (4, 6), "face.flipped": (4, 6)}
    return {name: torch.randn(shape).to(torch.bfloat16) for name, shape in names.items()}


def written(folder) -> Cache:
    writer = shards.ShardWriter(shards.Shards(folder / files.SHARDS), shard_bytes=500)
    for name, tensor in small_tensors().items():
        writer.put({name: tensor})
    writer.flush()
    cache = small_cache(shards.Shards(folder / files.SHARDS))
    files.write_cache(folder, cache)
    return cache


def test_what_is_written_is_read(tmp_path):
    cache = written(tmp_path)
    read = read_cache(tmp_path)
    assert read.identities == ("alice",)
    assert [files._plain(asdict(one)["name"]) for one in read.images] == ["alice/ä.jpg", "alice/b.jpg"]
    for mine, other in zip(cache.faces, read.faces, strict=True):
        assert (mine.identity, mine.image, mine.box, mine.flags) == (
            other.identity,
            other.image,
            other.box,
            other.flags,
        )
        assert np.array_equal(mine.landmarks, other.landmarks)
    crop, other = cache.images[0].crops[0], read.images[0].crops[0]
    assert (crop.width_px, crop.height_px) == (other.width_px, other.height_px)
    assert [face.box for face in crop.faces] == [face.box for face in other.faces]
    assert read.images[1].held_out
    assert not read.images[0].held_out
    for name in ("arcface", "second"):
        assert torch.equal(getattr(cache, name), getattr(read, name))
    assert torch.equal(cache.negatives.embeddings, read.negatives.embeddings)
    assert torch.equal(cache.negatives.identities, read.negatives.identities)
    assert (read.fingerprints, read.data) == ({"vae": "abc"}, "d1")


def test_tensors_come_as_float32(tmp_path):
    cache = written(tmp_path)
    read = read_cache(tmp_path)
    mean, logvar = read.latent(read.images[0], 0)
    assert mean.dtype == torch.float32
    assert torch.equal(mean, cache.tensors["latent.mean"].float())
    assert torch.equal(logvar, cache.tensors["latent.logvar"].float())
    assert read.text(read.images[0])["t5"].shape == (5, 12)
    assert read.dummy_text(1)["pooled"].shape == (9,)
    face = read.face(0)
    assert (face.identity, face.siglip.shape, face.siglip_flipped.shape) == (0, (4, 6), (4, 6))
    assert torch.equal(face.arcface, cache.arcface[0])
    assert read.face(2).siglip is None


def test_faces_of_a_person_are_told_apart_by_held_out_photos(tmp_path):
    read = small_cache(small_tensors())
    assert read.faces_of(0) == (0,)
    assert read.faces_of(0, held_out=True) == (2,)
    assert read.bucket(read.images[0], 0) == (64, 48, 2)


def test_too_many_people_are_refused():
    with pytest.raises(ValueError, match="0 to 1 people, and 2"):
        small_cache(small_tensors()).dummy_text(2)


def test_no_cache_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no finished cache"):
        read_cache(tmp_path)


def test_a_lost_shard_is_named(tmp_path):
    written(tmp_path)
    for path in (tmp_path / files.SHARDS).iterdir():
        path.unlink()
    read = read_cache(tmp_path)
    with pytest.raises(ValueError, match="lacks a tensor"):
        read.text(read.images[0])


def test_a_damaged_index_is_named(tmp_path):
    written(tmp_path)
    index = next(tmp_path.glob("index-*"))
    index.write_text(index.read_text()[:-40])
    with pytest.raises(ValueError, match="is damaged"):
        read_cache(tmp_path)


@pytest.mark.parametrize("files_that_fit", [0, 1, 2])
def test_a_full_disk_leaves_the_previous_cache(tmp_path, monkeypatch, files_that_fit):
    cache = written(tmp_path)
    room = [None] * files_that_fit

    def full(descriptor):
        if not room:
            raise OSError(28, "No space left on device")
        room.pop()

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*same command again"):
        files.write_cache(tmp_path, small_cache(cache.tensors))
    assert torch.equal(read_cache(tmp_path).arcface, cache.arcface)
    assert not list(tmp_path.rglob("*.partial"))


def test_an_old_index_is_removed_once_the_new_one_counts(tmp_path):
    cache = written(tmp_path)
    files.write_cache(tmp_path, small_cache(cache.tensors))
    assert len(list(tmp_path.glob("index-*"))) == len(list(tmp_path.glob("bank-*"))) == 1


def test_shards_nobody_uses_are_removed(tmp_path):
    written(tmp_path)
    files.remove_unused_shards(tmp_path, ["text.t5", "text.pooled"])
    left = set(shards.Shards(tmp_path / files.SHARDS))
    assert "text.t5" in left
    assert "latent.mean" not in left


def test_a_cache_of_other_models_is_refused(tmp_path):
    written(tmp_path)
    read = read_cache(tmp_path)
    read.check_models({"any name": "12" * 32})
    with pytest.raises(ValueError, match=r"made with other models: new\.safetensors .*ae\.safetensors"):
        read.check_models({"new.safetensors": "34" * 32})
