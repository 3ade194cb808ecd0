"""MultiID-2M's layout: tars read where they lie, pickled dictionaries read without running them."""

import io
import json
import logging
import pickle
import subprocess
import sys
import tarfile
from contextlib import suppress

import numpy as np
import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training import coded_faces as coded

from training.cache.entries import UNKNOWN
from training.cache.files import read_cache
from training.preparing.multiid import centres_of, is_multiid, multiid_sources
from training.preparing.preparing import prepare
from training.preparing.unpickling import UnsafeFile, read_npy


def npy(value, protocol=None) -> bytes:
    """What np.save makes of a dictionary, with any pickle protocol."""
    stream = io.BytesIO()
    wrapped = np.array(value, dtype=object) if isinstance(value, dict) else np.asarray(value)
    np.save(stream, wrapped)
    if protocol is None or not wrapped.dtype.hasobject:
        return stream.getvalue()
    start = 10 + int.from_bytes(stream.getvalue()[8:10], "little")
    return stream.getvalue()[:start] + pickle.dumps(wrapped, protocol)


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def sample(key, image, **values):
    embeddings = [face.embedding for face in coded.CodedFaces().faces(image)]
    record = {"bboxes": np.zeros((len(embeddings), 4)), "embeddings": np.array(embeddings)}
    return {f"{key}.jpg": coded.png(image), f"{key}.json": json.dumps(values).encode(), f"{key}.npy": npy(record)}


def data_set(folder):
    """Two tars of groups, reference photos of 0001 as files and of 0002 in a tar, and a centre of 0003."""
    first = sample(
        "000", coded.photo((1, 11), (2, 11), width=256), caption_en="This image shows two", name=["0001", "0002"]
    )
    first |= sample("001", coded.photo((2, 12), (3, 12), width=256, seed=1), name=[2, "0003", "0002"])
    second = sample("100", coded.photo((8, 1), (9, 1), width=256, seed=2), caption_en="strangers", name="none")
    tar(folder / "train_cp/00000.tar", first)
    tar(folder / "train_rec/00000.tar", second)
    for number in range(1, 5):
        coded.save(folder / f"ref/0001/{number}.png", coded.photo((1, number), seed=10 + number))
    tar(
        folder / "ref/tars/0002.tar",
        {f"0002/{number}.jpg": coded.png(coded.photo((2, number), seed=20 + number)) for number in range(1, 5)},
    )
    tar(folder / "ref/cluster_centers.tar", {"0003.npy": npy(7 * coded.direction(3)), "0009.npy": b"never read"})
    return folder


def test_photos_are_found_in_the_tars(tmp_path):
    data = data_set(tmp_path)
    assert is_multiid(data)
    sources = multiid_sources(data, processes=1)
    assert [(source.kind, source.person) for source in sources] == (
        [("identity", "0001")] * 4 + [("identity", "0002")] * 4 + [("group", None)] * 3
    )
    first, second, third = sources[8:]
    assert (first.name, first.caption, first.names) == ("train_cp/00000/000", "This image shows two", ("0001", "0002"))
    assert (second.caption, second.names) == (None, ("2", "0003", "0002"))
    assert (third.name, third.names) == ("train_rec/00000/100", ())
    with tarfile.open(data / "train_cp/00000.tar") as archive:
        assert second.location.read() == archive.extractfile("001.jpg").read()


def test_names_are_given_by_face(tmp_path):
    data = data_set(tmp_path / "data")
    settings = coded.settings(data, tmp_path / "cache")
    prepare(settings, coded.models)
    cache = read_cache(tmp_path / "cache")
    assert cache.identities == ("0003", "0001", "0002")
    named = {image.name: [cache.faces[face.face].identity for face in image.crops[0].faces] for image in cache.images}
    assert named["train_cp/00000/000"] == [1, 2]
    assert named["train_cp/00000/001"] == [2, 0]
    assert named["train_rec/00000/100"] == [UNKNOWN, UNKNOWN]
    assert cache.images[-1].caption == "strangers"


def test_a_centre_stands_for_who_has_no_reference_photos(tmp_path):
    data = data_set(tmp_path)
    centres = centres_of(data, multiid_sources(data, 1))
    assert list(centres) == ["0003"]
    assert centres["0003"] == pytest.approx(coded.direction(3), abs=1e-6)
    assert centres_of(tmp_path / "ref", ()) is None


def test_a_limit_takes_the_first_photos_and_their_people(tmp_path):
    names = [source.name for source in multiid_sources(data_set(tmp_path), 1, limit=1)]
    assert names[-2:] == ["train_cp/00000/000", "train_rec/00000/100"]
    assert len(names) == 10


@pytest.mark.parametrize("where", [200, 530, 512])
def test_a_tar_that_is_cut_off_gives_what_it_has(tmp_path, caplog, where):
    data = data_set(tmp_path)
    path = data / "train_cp/00000.tar"
    with tarfile.open(path) as archive:
        member = archive.getmember("001.json")
    path.write_bytes(path.read_bytes()[: member.offset + where])
    with caplog.at_level(logging.WARNING):
        names = [source.name for source in multiid_sources(data, 1) if source.kind == "group"]
    assert "train_cp/00000/000" in names
    assert "ends too early" in caplog.text


def test_an_identity_of_mixed_faces_is_left_out_and_not_an_error(tmp_path, caplog):
    data = data_set(tmp_path / "data")
    for number in range(5):
        coded.save(data / f"ref/0001/x{number}.png", coded.photo((40 + number, 1), seed=50 + number))
    with caplog.at_level(logging.WARNING):
        cache = prepare(coded.settings(data, tmp_path / "cache"), coded.models).cache
    assert cache.identities == ("0003", "0002")
    assert "0001" in caplog.text


def test_tars_are_read_by_several_processes(tmp_path):
    data = data_set(tmp_path)
    tar(data / "train_cp/00001.tar", sample("200", coded.photo((1, 13), seed=3)))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from training.preparing.multiid import multiid_sources\n"
        "if __name__ == '__main__':\n"
        "    for source in multiid_sources(Path(sys.argv[2]), 2):\n"
        "        print(source.name)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    found = subprocess.run([sys.executable, script, ROOT, data], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [source.name for source in multiid_sources(data, 1)]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickled_dictionaries_are_read_as_numpy_reads_them(protocol):
    value = {
        "bboxes": np.arange(8.0).reshape(2, 4),
        "embeddings": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "names": ["a", "b"],
        "half": np.array([1.5], np.float16),
        "big endian": np.array([1, 2], ">i4"),
        "ragged": np.array([np.arange(2), "x"], dtype=object),
        "texts": np.array(["left", "right"]),
        "count": 3,
        "score": np.float64(0.5),
        "nothing": None,
    }
    found = read_npy(npy(value, protocol), "x.npy")
    assert found.keys() == value.keys()
    for key in ("bboxes", "embeddings", "half", "big endian", "texts"):
        assert np.array_equal(found[key], value[key])
        assert found[key].dtype.newbyteorder("=") == value[key].dtype.newbyteorder("=")
    assert (found["names"], found["count"], found["score"], found["nothing"]) == (["a", "b"], 3, 0.5, None)
    assert found["ragged"][0].tolist() == [0, 1]
    assert np.array_equal(read_npy(npy(np.arange(4)), "y.npy"), np.arange(4))


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (exec, "open('ran', 'w')"),
        (eval, "1"),
        (getattr, "", "join"),
        (np.load, "x"),
        (subprocess.run, "true"),
        (np.frompyfunc, len, 1, 1),
    ],
)
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeFile, match=r"x\.npy is not read: it asks for"):
        read_npy(npy({"names": [Attack(*call)]}), "x.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"text", npy({"a": 1})[:-4], npy(np.arange(9))[:-4]])
def test_a_broken_file_is_named(content):
    with pytest.raises(ValueError, match=r"x\.npy"):
        read_npy(content, "x.npy")


def test_flipped_bytes_are_refused_or_read_but_run_nothing():
    """A thousand damaged files: data, or words."""
    whole = npy({"bboxes": np.arange(8.0).reshape(2, 4), "names": ["a", "b"]})
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(1000):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 2):
            damaged[place] = rng.integers(256)
        with suppress(ValueError):
            read_npy(bytes(damaged), "x.npy")
            read += 1
    assert 0 < read < 1000  # no other error came up
