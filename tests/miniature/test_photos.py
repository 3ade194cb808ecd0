"""Folders of photos of the miniature's people are what prepare.py reads, and always the same."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.rooms import add_training

add_training()

from withanyone_pack.miniature.lab.recipes.photos import (
    PhotoSet,
    group,
    person_name,
    portrait,
    write_photos,
)
from withanyone_pack.miniature.world.look import DIRECTIONS, EXPRESSIONS

from training.preparing.sources import plain_sources

SET = PhotoSet(first=500_000, identities=5, portraits=2, groups=3, size_px=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    assert write_photos(SET, folder, workers=1) == 13
    return folder


def test_the_folder_is_read_with_names_and_captions(folder):
    sources = plain_sources(folder)
    assert len(sources) == 13
    assert all(source.caption for source in sources)
    assert {source.person for source in sources if source.kind == "identity"} == {person_name(i) for i in SET.people}
    groups = [source for source in sources if source.kind == "group"]
    assert [len(source.names) for source in groups] == [2, 3, 4]
    assert [source.names for source in groups] == [group(SET, number).people for number in range(3)]
    assert all(source.caption == group(SET, number).caption for number, source in enumerate(groups))


def test_names_go_from_left_to_right_with_room_between(folder):
    for number in range(12):
        photos = PhotoSet(0, 30, 1, 12, 64)
        faces = group(photos, number).image.faces
        middles = np.sort([(face.box[0] + face.box[2]) / 2 for face in faces])
        assert np.diff(middles).min() > 0.02


def test_a_part_of_the_captions_is_silent_on_expressions_and_directions_about_the_same_pixels():
    said, silent = (replace(SET, silent=fraction) for fraction in (0.0, 1.0))
    half = replace(SET, silent=0.5)
    words = {word for group_ in (EXPRESSIONS, DIRECTIONS) for word in group_}
    for person in SET.people:
        first, second = portrait(said, person, 1), portrait(silent, person, 1)
        assert np.array_equal(first.image.pixels, second.image.pixels)
        assert set(first.caption.split()) & words
        assert not set(second.caption.split(":")[-1].split()[1:]) & words
    captions = [group(half, number).caption for number in range(12)]
    assert 0 < sum(caption == group(silent, number).caption for number, caption in enumerate(captions)) < 12


def test_only_what_is_missing_is_rendered_and_it_is_the_same(folder):
    path = folder / f"{portrait(SET, 500_001, 1).name}.png"
    before = cv2.imread(str(path))
    kept = folder / f"{portrait(SET, 500_001, 0).name}.png"
    kept.write_bytes(b"the user's")
    path.unlink()
    write_photos(SET, folder, workers=1)
    assert np.array_equal(cv2.imread(str(path)), before)
    assert kept.read_bytes() == b"the user's"


def test_groups_need_people():
    with pytest.raises(ValueError, match="Groups show up to 4 people, and there are 2"):
        PhotoSet(0, identities=2, portraits=1, groups=1)


def test_the_command_says_what_it_made_and_what_is_wrong(tmp_path):
    command = [sys.executable, str(ROOT / "miniature/lab/photos.py")]
    made = [str(tmp_path), "--identities", "4", "--portraits", "1", "--groups", "1", "--size", "48", "--workers", "2"]
    done = subprocess.run([*command, *made], capture_output=True, text=True, check=True)
    assert "5 photos of 4 people" in done.stdout
    wrong = subprocess.run([*command, str(tmp_path), "--identities", "2"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("photos: Groups show up to 4 people")
