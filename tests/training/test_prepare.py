"""Photos to a cache: the whole way with stand-in models."""

import json
import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.caches import same

from training.cache import shards
from training.cache.cache import Cache
from training.cache.entries import UNKNOWN
from training.loop.own_tokens import chosen_person
from training.preparing.preparing import prepare
from training.preparing.sources import plain_sources
from withanyone_core.faces.crop import face_crop


def prepared(tmp_path, models=None, **changes):
    models = models or coded.instruments()
    return prepare(coded.settings(tmp_path / "data", tmp_path / "cache", **changes), lambda: models)


def test_two_people_and_photos_of_both(tmp_path):
    coded.two_people(tmp_path / "data")
    done = prepared(tmp_path)
    cache = Cache.open(tmp_path / "cache")
    assert cache.identities == ("alice", "bob")
    assert len(cache.images) == 14
    both = next(image for image in cache.images if image.name == "groups/both.png")
    assert [cache.faces[face.face].identity for face in both.crops[0].faces] == [1, 0]
    three = next(image for image in cache.images if image.name == "groups/three.png")
    assert [cache.faces[face.face].identity for face in three.crops[0].faces] == [0, UNKNOWN, 1]
    assert done.report.read_text().startswith("# Prepared photos")


def test_crops_show_every_face_where_the_detector_saw_it(tmp_path):
    coded.two_people(tmp_path / "data")
    prepared(tmp_path, crops=6)
    cache = Cache.open(tmp_path / "cache")
    models = coded.instruments()
    assert any(len(image.crops) > 2 for image in cache.images)
    for image in cache.images:
        levels = np.asarray(Image.open(image.source))
        for number, crop in enumerate(image.crops):
            assert (crop.width_px % 16, crop.height_px % 16) == (0, 0)
            mean, logvar = cache.latent(image, number)
            assert mean.shape == logvar.shape == (16, crop.height_px // 8, crop.width_px // 8)
            assert len(crop.faces) == image.people
            for face in crop.faces:
                x1, y1, x2, y2 = face.box
                assert 0 <= x1 < x2 <= 1
                assert 0 <= y1 < y2 <= 1
                whole = cache.faces[face.face].box
                # A crop scales both sides of a face alike, up to the rounding of the bucket.
                ratio = (x2 - x1) * crop.width_px / ((y2 - y1) * crop.height_px)
                assert ratio == pytest.approx(
                    (whole[2] - whole[0]) * levels.shape[1] / ((whole[3] - whole[1]) * levels.shape[0]), rel=0.001
                )
                inside = (face.landmarks - (x1, y1)) / (x2 - x1, y2 - y1)
                assert inside[:2] == pytest.approx(coded.POINTS[:2], abs=1e-5)
    first = cache.images[0]
    expected, _ = models.image.encode(np.asarray(Image.open(first.source).resize((64, 64), box=(16, 0, 144, 128))))
    assert first.crops[0].faces
    assert expected.shape == (16, 8, 8)


def test_latents_are_of_the_pixels_the_boxes_are_measured_in(tmp_path):
    coded.two_people(tmp_path / "data")
    prepared(tmp_path, crops=4)
    cache = Cache.open(tmp_path / "cache")
    mix = coded.SmallImages().mix
    for image in cache.images[:6]:
        for number, crop in enumerate(image.crops):
            mean, _ = cache.latent(image, number)
            red = torch.linalg.lstsq(mix, mean.reshape(16, -1)).solution.reshape(3, *mean.shape[1:])[0]
            rows, columns = torch.nonzero(red > (coded.MARK - 4) / 127.5 - 1, as_tuple=True)
            x1, y1, x2, y2 = crop.faces[0].box
            height, width = red.shape
            assert columns.min() / width == pytest.approx(x1, abs=1.3 / width)
            assert (columns.max() + 1) / width == pytest.approx(x2, abs=1.3 / width)
            assert rows.min() / height == pytest.approx(y1, abs=1.3 / height)
            assert (rows.max() + 1) / height == pytest.approx(y2, abs=1.3 / height)


def test_each_person_keeps_two_photos_for_validation(tmp_path):
    coded.two_people(tmp_path / "data")
    done = prepared(tmp_path)
    cache = done.cache
    assert [len(cache.faces_of(person, held_out=True)) for person in (0, 1)] == [2, 2]
    held = {image.name for image in cache.images if image.held_out}
    assert all(name.startswith("identities/") for name in held)
    own = [int(mark) for mark in cache.negatives.identities if mark >= 0]
    assert len(own) == len(cache.faces_of(0)) + len(cache.faces_of(1))
    coded.save(tmp_path / "data/identities/alice/7.png", coded.photo((1, 7), seed=7))
    held_later = {image.name for image in prepared(tmp_path).cache.images if image.held_out}
    assert len(held & held_later) >= 3


def test_a_second_run_computes_nothing_and_writes_the_same(tmp_path):
    coded.two_people(tmp_path / "data")
    prepared(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    models = coded.instruments()
    prepared(tmp_path, models)
    assert (models.faces.asked, models.image.asked, models.siglip.asked, models.second.asked) == (0, 0, 0, 0)
    assert models.text.asked == []
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("image", ["image"]),
        ("text", ["text"]),
        ("siglip", ["siglip"]),
        ("second", ["second"]),
        ("faces", ["faces", "second"]),
    ],
)
def test_a_changed_model_rebuilds_only_what_depends_on_it(tmp_path, caplog, kind, asked):
    coded.two_people(tmp_path / "data")
    prepared(tmp_path)
    models = coded.instruments()
    models = coded.instruments(fingerprints={**models.fingerprints, kind: "another"})
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path, models)
    counts = {name: getattr(models, name).asked for name in ("faces", "image", "text", "siglip", "second")}
    assert [name for name in counts if counts[name]] == [name for name in counts if name in asked]
    assert "was made with other models" in caplog.text
    assert Cache.open(tmp_path / "cache").fingerprints[kind] == "another"
    means = {name for name in shards.Shards(tmp_path / "cache/shards") if name.endswith(".mean")}
    cache = Cache.open(tmp_path / "cache")
    assert means == {f"{crop.latent}.mean" for image in cache.images for crop in image.crops}


def test_another_way_of_working_gives_the_same_cache(tmp_path):
    coded.two_people(tmp_path / "data")
    prepared(tmp_path)
    settings = coded.settings(tmp_path / "data", tmp_path / "other", workers=3, shard_mb=0.02)
    prepare(settings, coded.instruments)
    assert len(list((tmp_path / "other/shards").iterdir())) > 3
    same(tmp_path / "cache", tmp_path / "other")


def test_captions(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    (data / "identities/alice/1.txt").write_text("a woman in a\n park ", encoding="utf-8")
    (data / "captions/alice").mkdir(parents=True)
    (data / "captions/alice/2.txt").write_text("at sea", encoding="utf-8")
    (data / "captions/both.txt").write_text("\ufeffthe two of them", encoding="utf-8")
    models = coded.instruments()
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
    assert cache.dummy_text(2).pooled[0] == ord("t")


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


def test_a_rotated_photo_is_turned_upright(tmp_path):
    data = coded.two_people(tmp_path / "data")
    upright = coded.photo((1, 40), seed=40, width=128, height=160)
    turned = Image.fromarray(upright).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(data / "identities/alice/turned.png", exif=exif)
    cache = prepared(tmp_path).cache
    face = next(face for face in cache.faces if cache.images[face.image].name.endswith("turned.png"))
    whole = coded.CodedFaces().faces(upright)[0].box_px
    assert face.box == pytest.approx((whole[0] / 128, whole[1] / 160, whole[2] / 128, whole[3] / 160))


def test_a_face_that_fills_the_photo_is_found_with_a_border(tmp_path):
    class NeedsRoom(coded.CodedFaces):
        def faces(self, photo):
            return tuple(face for face in super().faces(photo) if face.box_px[3] - face.box_px[1] < 0.5 * len(photo))

    coded.two_people(tmp_path / "data")
    cache = prepared(tmp_path, coded.instruments(faces=NeedsRoom())).cache
    direct = prepare(coded.settings(tmp_path / "data", tmp_path / "direct"), coded.instruments).cache
    assert [face.box for face in cache.faces] == [face.box for face in direct.faces]
    assert all(
        np.allclose(one.landmarks, other.landmarks) for one, other in zip(cache.faces, direct.faces, strict=True)
    )


def test_what_is_not_used_is_named_with_its_reason(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    alice = data / "identities/alice"
    (alice / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (alice / "cut.png").write_bytes((alice / "1.png").read_bytes()[:2000])
    (alice / "phone.heic").write_bytes(b"heic")
    Image.open(alice / "1.png").save(alice / "copy.bmp")
    coded.save(alice / "small.png", coded.photo((1, 50), seed=50, width=96, height=48))
    coded.save(alice / "stranger.png", coded.photo((15, 1), seed=51))
    coded.save(alice / "wall.png", coded.photo(seed=52))
    with caplog.at_level(logging.WARNING):
        done = prepared(tmp_path)
    why = {source.name.rpartition("/")[2]: reason for source, _, reason in done.naming.rejected}
    assert re.search("no image|damaged", why.pop("broken.jpg"))
    assert "damaged" in why.pop("cut.png")
    assert why.pop("copy.bmp") == "it shows the same as identities/alice/1.png"
    assert "96 x 48 pixels, and the smallest training size is 64; set upscale=true" in why.pop("small.png")
    assert "nobody in it looks like the rest of the folder" in why.pop("stranger.png")
    assert "no face was found" in why.pop("wall.png")
    assert why == {}
    assert "Not used: identities/alice/phone.heic: photos of this kind cannot be read" in caplog.text
    report = done.report.read_text()
    page = (tmp_path / "cache/report.html").read_text()
    for name in ("broken.jpg", "small.png", "stranger.png", "wall.png"):
        assert name in report
        assert name in page


def test_small_photos_may_be_enlarged(tmp_path):
    data = coded.two_people(tmp_path / "data")
    coded.save(data / "identities/alice/small.png", coded.photo((1, 50), seed=50, width=96, height=48))
    names = [image.name for image in prepared(tmp_path, upscale=True).cache.images]
    assert "identities/alice/small.png" in names


def test_no_photos(tmp_path):
    (tmp_path / "data/identities/alice").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"No photos were found in .*Put 10 to 50 photos of each person into"):
        prepared(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no data folder"):
        prepare(coded.settings(tmp_path / "nothing", tmp_path / "cache"), coded.instruments)


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
        ValueError, match=r"None of the photos can be used\. Not usable: identities/alice/a\.jpg: it is no"
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
    assert "512 random vectors stand in" in caplog.text
    assert done.bank.filled == 512


def test_a_full_disk(tmp_path, monkeypatch):
    data = coded.two_people(tmp_path / "data")
    prepared(tmp_path)
    arcface = Cache.open(tmp_path / "cache").arcface
    coded.save(data / "identities/alice/7.png", coded.photo((1, 7), seed=7))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shards.os, "fsync", full)
        with pytest.raises(
            OSError, match=r"could not be written \(No space left on device\).*goes on where it stopped"
        ):
            prepared(tmp_path)
    assert torch.equal(Cache.open(tmp_path / "cache").arcface, arcface)
    assert len(prepared(tmp_path).cache.faces) == len(arcface) + 1


def test_a_folder_of_something_else(tmp_path):
    coded.two_people(tmp_path / "data")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/cache.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="is no cache header of this program"):
        prepared(tmp_path)
    with pytest.raises(ValueError, match="would lie among the photos"):
        prepare(coded.settings(tmp_path / "data", tmp_path), coded.instruments)


def test_a_model_that_gives_no_numbers(tmp_path):
    class Broken(coded.SmallImages):
        def encode(self, pixels):
            mean, logvar = super().encode(pixels)
            return mean * float("nan"), logvar

    coded.two_people(tmp_path / "data")
    with pytest.raises(ValueError, match=r"not finite for identities/alice/1\.png"):
        prepared(tmp_path, coded.instruments(image=Broken()))


def test_without_a_second_recognizer_and_siglip(tmp_path):
    coded.two_people(tmp_path / "data")
    cache = prepared(tmp_path, coded.instruments(siglip=None, second=None)).cache
    assert cache.second is None
    assert cache.face(0).siglip is None


def test_the_second_recognizer_and_siglip_are_of_the_same_faces(tmp_path):
    coded.two_people(tmp_path / "data")
    cache = prepared(tmp_path).cache
    assert torch.equal(cache.second, cache.arcface[:, :24])
    for index, face in enumerate(cache.faces):
        entry, levels = cache.face(index), np.asarray(Image.open(cache.images[face.image].source))
        height, width = levels.shape[:2]
        box_px = tuple(np.multiply(face.box, (width, height, width, height)).round())
        expected = coded.SmallTokens().tokens(face_crop(levels, box_px)).bfloat16().float()
        assert torch.equal(entry.siglip, expected)
        assert torch.allclose(entry.siglip_flipped[0], entry.siglip[1], atol=1)


def test_the_doctors_numbers_are_written(tmp_path):
    coded.two_people(tmp_path / "data")
    done = prepared(tmp_path)
    written = json.loads((tmp_path / "cache/doctor.json").read_text())
    assert written["risk"] == pytest.approx(done.findings.risk)
    assert f"## Risk of copying: {done.findings.risk:.2f}" in done.report.read_text()


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
def test_names_that_need_quotes_are_told_so(tmp_path, text):
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
    "later.heic": "only identities, groups, negatives, captions are looked into",
    "carol/": "only identities, groups, negatives, captions are looked into",
    "identities/loose.jpg": "it shows nobody who has a name",
    "identities/alice/new.heic": "cannot be read; save them as JPEG or PNG",
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
        done = prepare(coded.settings(data, data / "cache"), coded.instruments)
    section = done.report.read_text().split("## Not used\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.split(": ")[0].removeprefix("* ") for line in section] == sorted(LEFT)
    for name, reason in LEFT.items():
        assert any(name in line and reason in line for line in section), name
        assert any(name in line and reason in line for line in caplog.text.splitlines()), name
    assert len(done.cache.images) == 14


def test_a_folder_too_high_or_too_low_is_told_the_right_one(tmp_path):
    coded.two_people(tmp_path / "data/photos")
    with pytest.raises(ValueError, match=rf"No photos were found .* Did you mean data={tmp_path}/data/photos\?"):
        prepared(tmp_path)
    with pytest.raises(ValueError, match=rf"Name the folder above it as data: {tmp_path}/data/photos\."):
        prepare(coded.settings(tmp_path / "data/photos/identities", tmp_path / "cache"), coded.instruments)


def test_captions_are_read_first_and_their_readers_leave_before_photos_are_encoded(tmp_path):
    """On a card of 12 GB the VAE and SigLIP have no room beside T5."""
    text = coded.SmallTexts()

    class Images(coded.SmallImages):
        def encode(self, pixels):
            assert text.released
            return super().encode(pixels)

    class Tokens(coded.SmallTokens):
        def tokens(self, crop):
            assert text.released
            return super().tokens(crop)

    coded.two_people(tmp_path / "data")
    models = coded.instruments(text=text, image=Images(), siglip=Tokens())
    prepared(tmp_path, models)
    assert models.image.asked
    assert models.siglip.asked
    assert text.asked
