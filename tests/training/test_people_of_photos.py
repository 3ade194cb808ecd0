"""Who is who in a folder of photos: clusters, names, captions; and the settings of prepare.py."""

import logging

import numpy as np
import pytest
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.coded_faces import at_cosine

from training.configuration.preparing import PrepareSettings, ratio
from training.configuration.reading import checked
from training.preparing.assignment import assign_names, names_from_left
from training.preparing.captions import head_count, plain_caption
from training.preparing.people import ALIKE_SHOWN, MERGE_COSINE, alike, check_folder, clusters


def test_head_counts_are_spelled_out():
    assert [head_count(people) for people in (0, 1, 2, 4, 12)] == [
        "",
        "one person",
        "two people",
        "four people",
        "12 people",
    ]
    assert (plain_caption(0), plain_caption(1), plain_caption(3)) == (
        "a photo",
        "a photo of one person",
        "a photo of three people",
    )


def test_clusters_are_those_of_dbscan():
    """Two dense groups, one embedding on the border of the first, one far away."""
    cosines = np.eye(9)
    for group in ((0, 1, 2), (3, 4, 5, 6)):
        for first in group:
            for second in group:
                cosines[first, second] = max(cosines[first, second], 0.7)
    cosines[7, 2] = cosines[2, 7] = 0.55
    assert clusters(cosines, 0.5, 3).tolist() == [0, 0, 0, 1, 1, 1, 1, 0, -1]
    assert clusters(cosines, 0.8, 3).tolist() == [-1] * 9
    assert clusters(cosines, 0.5, 4).tolist() == [0, 0, 0, 1, 1, 1, 1, 0, -1]


def test_a_folder_keeps_the_face_that_is_in_all_photos():
    mine = [coded.embedding_of(1, number) for number in range(1, 7)]
    friend = coded.embedding_of(9, 1)
    photos = [np.stack([friend, embedding]) for embedding in mine[:3]] + [embedding[None] for embedding in mine[3:]]
    check = check_folder("alice", [f"{number}.jpg" for number in range(6)], photos)
    assert check.accepted == {0: 1, 1: 1, 2: 1, 3: 0, 4: 0, 5: 0}
    assert check.centre @ coded.direction(1) > 0.9
    assert check.problem == ""


def test_few_photos_are_measured_at_their_medoid():
    photos = [
        np.stack([at_cosine(0.9, other=1)]),
        np.stack([at_cosine(0.9, other=2)]),
        np.stack([coded.direction(5)]),
    ]
    check = check_folder("alice", ["a", "b", "c"], [20 * each for each in photos])
    assert check.accepted == {0: 0, 1: 0}
    assert "nobody in it looks like the rest" in str(check.outliers[2])
    apart = check_folder("alice", ["a", "b"], [coded.direction(5)[None], coded.direction(6)[None]])
    assert "disagree: of 2 photos only 1 show" in apart.problem


def test_photos_without_faces_do_not_shift_the_others():
    photos = [np.zeros((0, 512)), coded.embedding_of(1, 1)[None], np.zeros((0, 512)), coded.embedding_of(1, 2)[None]]
    assert check_folder("alice", list("abcd"), photos).accepted == {1: 0, 3: 0}


def test_faces_are_assigned_one_to_one():
    centres = {"alice": coded.direction(1), "bob": coded.direction(2)}
    faces = np.stack([coded.direction(3), coded.embedding_of(2, 1), coded.embedding_of(1, 1), 20 * at_cosine(0.9)])
    assert assign_names(faces, centres) == {1: "bob", 3: "alice"}
    assert assign_names(faces, centres, {2: "alice"}) == {2: "alice", 1: "bob"}
    assert assign_names(faces[:1], centres) == {}
    assert assign_names(faces, {}) == {}


@pytest.mark.parametrize(("cosine", "found"), [(0.41, {0: "alice"}), (0.39, {})])
def test_a_face_needs_a_cosine_above_0_4(cosine, found):
    assert assign_names(at_cosine(cosine)[None], {"alice": coded.direction(1)}) == found


@pytest.mark.parametrize(("second", "found"), [(0.45, {0: "alice"}), (0.55, {})])
def test_a_face_needs_a_margin_over_the_second_person(second, found):
    face = np.zeros(512)
    face[0], face[1] = 0.6, second
    face[2] = np.sqrt(1 - face @ face)
    assert assign_names(face[None], {"alice": np.eye(512)[0], "bob": np.eye(512)[1]}) == found


def test_names_from_left_to_right():
    assert names_from_left([30.0, 10.0, 20.0], ["a", None, "b"]) == {1: "a", 0: "b"}
    assert names_from_left([30.0], ["a", "b"]) is None


def test_settings(caplog):
    assert ratio("3:4") == 0.75
    needed = {"data": "d", "cache": "c", "faces": {"pack": "p"}, "encoders": {"vae": "v", "t5": "t", "clip": "c"}}
    assert checked(PrepareSettings, needed, "x").sizes == (512, 640, 768)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ValueError, match="the key hold_out is unknown; did you mean held_out"),
    ):
        checked(PrepareSettings, {**needed, "hold_out": 3}, "x")
    for key, value, words in (
        ("sizes", [500], "multiple of 16"),
        ("sizes", [], "at least 1"),
        ("aspects", ["wide"], "aspect 'wide' is not understood"),
        ("aspects", ["9:1"], "from 1:4 to 4:1"),
    ):
        with pytest.raises(ValueError, match=words):
            checked(PrepareSettings, {**needed, key: value}, "x")
    with pytest.raises(ValueError, match="expected one of CPU, CUDA"):
        checked(PrepareSettings, {**needed, "faces": {"pack": "p", "provider": "TPU"}}, "x")


def test_of_many_folders_that_look_alike_the_most_alike_are_reported():
    rng = np.random.default_rng(0)
    one = coded.direction(1)
    people = {f"p{number}": one + 0.01 * number * rng.normal(size=one.shape) for number in range(8)}
    centres = {name: embedding / np.linalg.norm(embedding) for name, embedding in people.items()}
    centres["nobody"] = -one
    found = alike(centres)
    cosines = sorted(centres[a] @ centres[b] for a in centres for b in centres if a < b)
    alike_pairs = sum(cosine > MERGE_COSINE for cosine in cosines)
    assert len(found) == ALIKE_SHOWN + 1
    assert f"{cosines[-1]:.2f}" in found[0]
    assert not any("nobody" in line for line in found)
    assert found[-1].startswith(f"{alike_pairs - ALIKE_SHOWN} more")
