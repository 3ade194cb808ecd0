"""Names, captions and files of a data folder, as people write them."""

import io
import logging
import re
import sys
from shutil import copyfile
from types import SimpleNamespace

import pytest
from PIL import Image
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.prepared import prepared

from training.cache.entries import UNKNOWN
from training.loop.own_tokens import chosen_person
from training.preparing.photos import reads_heic
from training.preparing.preparing import prepare
from training.preparing.sources import plain_sources


def test_captions(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    (data / "identities/alice/1.txt").write_text("a woman in a\n park ", encoding="utf-8")
    (data / "captions/alice").mkdir(parents=True)
    (data / "captions/alice/2.txt").write_text("at sea", encoding="utf-8")
    (data / "captions/both.txt").write_text("\ufeffthe two of them", encoding="utf-8")
    models = coded.models()
    with caplog.at_level(logging.WARNING):
        cache = prepared(tmp_path, models).cache
    said = {image.name: image.caption for image in cache.images}
    assert said["identities/alice/1.png"] == "a woman in a park"
    assert said["identities/alice/2.png"] == "at sea"
    assert said["groups/both.png"] == "the two of them"
    assert said["identities/bob/1.png"] == "a photo of one person"
    assert said["groups/three.png"] == "a photo of three people"
    assert "11 of 14 photos have no caption" in caplog.text
    assert models.text.asked[:5] == ["", "one person", "two people", "three people", "four people"]
    assert cache.dummy_text(2)["pooled"][0] == ord("t")


def test_names_in_a_group_photo_are_taken_as_given(tmp_path):
    data = coded.two_people(tmp_path / "data")
    (data / "groups/three.yaml").write_text("faces: [bob, '?', alice]")
    cache = prepared(tmp_path).cache
    three = next(image for image in cache.images if image.name == "groups/three.png")
    assert [cache.faces[face.face].identity for face in three.crops[0].faces] == [1, UNKNOWN, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("faces: [bob, alcie]", r"three\.yaml names alcie, who has no folder in identities; did you mean alice\?"),
        ("faces: bob", "must say who is in the photo from left to right"),
        ("faces: [bob, bob, '?']", "names somebody twice"),
        ("faces: [", "is not readable YAML"),
    ],
)
def test_wrong_names_in_a_group_photo(tmp_path, text, words):
    data = coded.two_people(tmp_path / "data")
    (data / "groups/three.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        prepared(tmp_path)


def test_what_is_not_used_is_named_with_its_reason(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    alice = data / "identities/alice"
    (alice / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (alice / "cut.png").write_bytes((alice / "1.png").read_bytes()[:2000])
    (alice / "camera.nef").write_bytes(b"raw")
    Image.open(alice / "1.png").save(alice / "copy.bmp")
    coded.save(alice / "small.png", coded.photo((1, 50), seed=50, width=96, height=48))
    coded.save(alice / "stranger.png", coded.photo((15, 1), seed=51))
    coded.save(alice / "wall.png", coded.photo(seed=52))
    with caplog.at_level(logging.WARNING):
        done = prepared(tmp_path)
    why = {source.name.rpartition("/")[2]: str(reason) for source, _, reason in done.naming.rejected}
    assert re.search("no image|damaged", why.pop("broken.jpg"))
    assert "damaged" in why.pop("cut.png")
    assert why.pop("copy.bmp") == "it shows the same as another photo (identities/alice/1.png)"
    small = why.pop("small.png")
    assert "smallest training size, 64; set upscale=true" in small
    assert "96 x 48 pixels" in small
    assert "nobody in it looks like the rest of the folder" in why.pop("stranger.png")
    assert "no face was found" in why.pop("wall.png")
    assert why == {}
    assert "Not used, 1 file: identities/alice/camera.nef: photos of this kind cannot be read" in caplog.text
    report = done.report.read_text()
    page = (tmp_path / "cache/report.html").read_text()
    for name in ("broken.jpg", "small.png", "stranger.png", "wall.png"):
        assert name in report
        assert name in page


COMPOSED, APART = "zo\u00eb", "zoe\u0308"  # as Linux and as macOS write it


def renamed(data, before, after):
    (data / "identities" / before).rename(data / "identities" / after)


@pytest.mark.parametrize(("folder", "written"), [(COMPOSED, APART), (APART, COMPOSED), (APART, APART)])
def test_names_and_captions_are_the_same_in_either_unicode_form(tmp_path, folder, written):
    data = coded.two_people(tmp_path / "data")
    renamed(data, "bob", folder)
    (data / "groups/three.png").rename(data / f"groups/{folder}.png")
    (data / f"groups/{written}.yaml").write_text(f"\ufefffaces: [{written}, '?', alice]", encoding="utf-8")
    (data / f"captions/{written}").mkdir(parents=True)
    (data / f"captions/{written}/1.txt").write_text("at sea", encoding="utf-8")
    (data / f"captions/{written}.txt").write_text("three of them", encoding="utf-8")
    done = prepared(tmp_path)
    said = {image.name: image for image in done.cache.images}
    assert done.cache.identities == ("alice", COMPOSED)
    assert said[f"identities/{COMPOSED}/1.png"].caption == "at sea"
    three = said[f"groups/{COMPOSED}.png"]
    assert three.caption == "three of them"
    assert [done.cache.faces[face.face].identity for face in three.crops[0].faces] == [1, UNKNOWN, 0]
    assert chosen_person(done.cache, written) == COMPOSED
    assert "Not used" not in done.report.read_text()


ODD_NAMES = ["001", "no", "null", "~", "1e3", "2025-01-01", "0x10", "12:30"]


def test_names_that_yaml_reads_otherwise_are_names(tmp_path):
    data = coded.two_people(tmp_path / "data")
    for name in ODD_NAMES:
        (data / "identities" / name).mkdir()
    for stranger in ("?", "'?'"):
        for name in ODD_NAMES:
            (data / "groups/three.yaml").write_text(f"faces: [{name}, {stranger}, alice]")
            three = next(source for source in plain_sources(data) if source.name == "groups/three.png")
            assert three.names == (name, None, "alice")


def test_a_person_whose_name_is_a_number_is_found_in_a_group(tmp_path):
    data = coded.two_people(tmp_path / "data")
    renamed(data, "bob", "007")
    (data / "groups/three.yaml").write_text("faces: [007, ?, alice]")
    cache = prepared(tmp_path).cache
    three = next(image for image in cache.images if image.name == "groups/three.png")
    people = [cache.faces[face.face].identity for face in three.crops[0].faces]
    assert [None if one == UNKNOWN else cache.identities[one] for one in people] == ["007", None, "alice"]


@pytest.mark.parametrize("text", ["faces: [anna #2, bob]", "faces: [a: b, bob]", "faces: [bob, '']", "faces: {bob: 1}"])
def test_names_that_need_quotes_are_reported(tmp_path, text):
    data = coded.two_people(tmp_path / "data")
    (data / "groups/three.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"(?s)three\.yaml.*belongs in quotes"):
        prepared(tmp_path)


def test_photos_of_every_ending_and_depth_are_used(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    alice = data / "identities/alice"
    (alice / "2024/spring").mkdir(parents=True)
    (alice / "1.png").rename(alice / "2024/spring/1.png")
    (alice / "2.png").rename(alice / "2.PNG")
    (alice / "3.png").rename(alice / "3.gif")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (alice / "4.png").rename(elsewhere / "4.png")
    (alice / "linked").symlink_to(elsewhere)
    (alice / "5.png").rename(alice / "5.jfif")
    (alice / "2024/spring/1.caption").write_text("in spring")
    (alice / "2.PNG.txt").write_text("with its ending")
    (data / "captions/alice/linked").mkdir(parents=True)
    (data / "captions/alice/linked/4.png.caption").write_text("linked")
    (data / "groups/three.yml").write_text("faces: [bob, '?', alice]")
    with caplog.at_level(logging.WARNING):
        done = prepared(tmp_path)
    said = {image.name: image.caption for image in done.cache.images}
    assert len(said) == 14
    assert said["identities/alice/2024/spring/1.png"] == "in spring"
    assert said["identities/alice/2.png"] == "with its ending"
    assert said["identities/alice/linked/4.png"] == "linked"
    assert {"identities/alice/3.gif", "identities/alice/5.jfif"} <= said.keys()
    assert "Not used" not in caplog.text
    three = next(image for image in done.cache.images if image.name == "groups/three.png")
    assert [done.cache.faces[face.face].identity for face in three.crops[0].faces] == [1, UNKNOWN, 0]


LEFT = {
    "loose.png": "photos belong into identities/NAME/, groups/ or negatives/",
    "later.dng": "only identities, groups, negatives, captions are looked into",
    "carol/": "only identities, groups, negatives, captions are looked into",
    "identities/loose.jpg": "it shows nobody who has a name",
    "identities/alice/new.dng": "cannot be read; save them as JPEG or PNG",
    "identities/alice/gone.png": "a link that leads nowhere",
    "identities/alice/round": "a link to a folder that it lies in",
    "identities/alice/notes.md": "it is no photo, no caption",
    "identities/alice/1.caption": "a caption that was found before",
    "captions/nobody.txt": "no photo has this name",
    "captions/seen.png": "photos belong into identities/NAME/",
    "groups/nothing.yml": "no photo beside it has this name",
}


def test_whatever_is_not_used_is_named(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    (data / "identities/alice/1.txt").write_text("a woman")
    for name in LEFT:
        path = data / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith("gone.png"):
            path.symlink_to(tmp_path / "nowhere.png")
        elif name.endswith("round"):
            path.symlink_to(data / "identities/alice")
        elif name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(b"faces: [alice]")
    for name in ("identities/alice/.DS_Store", "identities/alice/._1.png", "Thumbs.db"):
        (data / name).write_bytes(b"")
    (data / "cache").mkdir()
    with caplog.at_level(logging.WARNING):
        done = prepare(coded.settings(data, data / "cache"), coded.models)
    section = done.report.read_text().split("## Not used\n\n")[1].split("\n\n")[0].splitlines()
    causes = {line.split(": ")[1]: line.split(": ")[-1].split(", ") for line in section}
    assert len(causes) == len(section)  # every cause once, with how many
    assert [int(line.split()[1]) for line in section] == [len(names) for names in causes.values()]
    assert sorted(name for names in causes.values() for name in names) == sorted(LEFT)
    for name, reason in LEFT.items():
        assert any(reason in cause for cause, names in causes.items() if name in names), name
        assert any(name in line and reason in line for line in caplog.text.splitlines()), name
    assert len(done.cache.images) == 14


def test_a_folder_too_high_or_too_low_is_answered_with_the_right_one(tmp_path):
    coded.two_people(tmp_path / "data/photos")
    with pytest.raises(ValueError, match=rf"No photos were found .* Did you mean data={tmp_path}/data/photos\?"):
        prepared(tmp_path)
    with pytest.raises(ValueError, match=rf"Name the folder above it as data: {tmp_path}/data/photos\."):
        prepare(coded.settings(tmp_path / "data/photos/identities", tmp_path / "cache"), coded.models)


@pytest.fixture
def heic(monkeypatch):
    """A stand-in for pillow-heif, which is optional: files of its kind hold a PNG behind a header."""

    def opened(stream, name):
        stream.seek(len(HEIC_HEAD))
        return Image.open(io.BytesIO(stream.read()))

    def register_heif_opener():
        Image.register_open("HEIF", opened, lambda prefix: prefix.startswith(HEIC_HEAD))

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register_heif_opener))
    reads_heic.cache_clear()
    yield
    Image.ID.remove("HEIF")
    del Image.OPEN["HEIF"]
    reads_heic.cache_clear()


@pytest.fixture
def no_heic(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reads_heic.cache_clear()
    yield
    reads_heic.cache_clear()


HEIC_HEAD = b"\0\0\0\x18ftypheic"


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path, heic, caplog):
    data = coded.two_people(tmp_path / "data")
    path = data / "identities/alice/1.png"
    (data / "identities/alice/IMG_1.HEIC").write_bytes(HEIC_HEAD + path.read_bytes())
    path.unlink()
    names = [image.name for image in prepared(tmp_path).cache.images]
    assert "identities/alice/IMG_1.heic" in names
    assert "Not used" not in caplog.text


def test_without_pillow_heif_its_command_is_named_once(tmp_path, no_heic, caplog):
    data = coded.two_people(tmp_path / "data")
    for number in range(7):
        (data / f"identities/alice/IMG_{number}.HEIC").write_bytes(HEIC_HEAD)
    report = prepared(tmp_path).report.read_text()
    lines = [line for line in caplog.text.splitlines() if "heif" in line]
    assert len(lines) == 1
    assert "7 files" in lines[0]
    assert "`python -m pip install pillow-heif`" in lines[0]
    assert "* 7 files: HEIC photos need pillow-heif" in report


def test_a_folder_of_nothing_but_unreadable_photos_says_why(tmp_path, no_heic):
    path = tmp_path / "data/identities/alice/IMG_1.HEIC"
    path.parent.mkdir(parents=True)
    path.write_bytes(HEIC_HEAD)
    with pytest.raises(ValueError, match=r"No photos were found .*1 photo there .*pip install pillow-heif"):
        prepared(tmp_path)


def test_a_photo_in_two_folders_is_kept_where_it_is_of_use(tmp_path):
    """Of everybody in it named by a file, and of one who is an outlier in the other folder: neither is lost twice."""
    data = coded.two_people(tmp_path / "data")
    alice, bob = data / "identities/alice", data / "identities/bob"
    copyfile(data / "groups/both.png", alice / "0.png")  # both are named in groups as well
    (data / "groups/both.yaml").write_text("faces: [bob, alice]")
    coded.save(data / "groups/seven.png", coded.photo((2, 7), seed=70))
    copyfile(data / "groups/seven.png", alice / "seven.png")  # of bob, so it is an outlier here
    done = prepared(tmp_path)
    why = {source.name: str(reason) for source, _, reason in done.naming.rejected}
    assert "looks like the rest" in why.pop("identities/alice/seven.png")
    assert len(why) == 1  # one copy of `both`
    known = {
        image.name: [done.cache.faces[face.face].identity for face in image.crops[0].faces]
        for image in done.cache.images
    }
    assert known["groups/seven.png"] == [1]
    assert known[next(name for name in ("groups/both.png", "identities/alice/0.png") if name in known)] == [1, 0]
    assert len(list(bob.iterdir())) == 6
