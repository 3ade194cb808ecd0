"""Photos to a cache with stand-in models: what it holds, and what a second run computes."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.caches import same
from withanyone_pack.tests.training.prepared import prepared

from training.cache import shards
from training.cache.entries import FOREIGN, UNKNOWN
from training.cache.files import read_cache
from training.preparing.preparing import prepare
from withanyone_core.faces.crop import face_crop


def test_two_people_and_photos_of_both(tmp_path):
    coded.two_people(tmp_path / "data")
    done = prepared(tmp_path)
    cache = read_cache(tmp_path / "cache")
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
    cache = read_cache(tmp_path / "cache")
    models = coded.models()
    assert any(len(image.crops) > 2 for image in cache.images)
    for image in cache.images:
        pixels = np.asarray(Image.open(image.source))
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
                    (whole[2] - whole[0]) * pixels.shape[1] / ((whole[3] - whole[1]) * pixels.shape[0]), rel=0.001
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
    cache = read_cache(tmp_path / "cache")
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
    models = coded.models()
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
    models = coded.models()
    models = coded.models(fingerprints={**models.fingerprints, kind: "another"})
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path, models)
    counts = {name: getattr(models, name).asked for name in ("faces", "image", "text", "siglip", "second")}
    assert [name for name in counts if counts[name]] == [name for name in counts if name in asked]
    assert "was made with other models" in caplog.text
    assert read_cache(tmp_path / "cache").fingerprints[kind] == "another"
    means = {name for name in shards.Shards(tmp_path / "cache/shards") if name.endswith(".mean")}
    cache = read_cache(tmp_path / "cache")
    assert means == {f"{crop.latent}.mean" for image in cache.images for crop in image.crops}


def test_another_way_of_working_gives_the_same_cache(tmp_path):
    coded.two_people(tmp_path / "data")
    prepared(tmp_path)
    settings = coded.settings(tmp_path / "data", tmp_path / "other", workers=3, shard_mb=0.02)
    prepare(settings, coded.models)
    assert len(list((tmp_path / "other/shards").iterdir())) > 3
    same(tmp_path / "cache", tmp_path / "other")


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
    cache = prepared(tmp_path, coded.models(faces=NeedsRoom())).cache
    direct = prepare(coded.settings(tmp_path / "data", tmp_path / "direct"), coded.models).cache
    assert [face.box for face in cache.faces] == [face.box for face in direct.faces]
    assert all(
        np.allclose(one.landmarks, other.landmarks) for one, other in zip(cache.faces, direct.faces, strict=True)
    )


def test_small_photos_may_be_enlarged(tmp_path):
    data = coded.two_people(tmp_path / "data")
    coded.save(data / "identities/alice/small.png", coded.photo((1, 50), seed=50, width=96, height=48))
    names = [image.name for image in prepared(tmp_path, upscale=True).cache.images]
    assert "identities/alice/small.png" in names


def test_without_a_second_recognizer_and_siglip(tmp_path):
    coded.two_people(tmp_path / "data")
    cache = prepared(tmp_path, coded.models(siglip=None, second=None)).cache
    assert cache.second is None
    assert cache.face(0).siglip is None


def test_the_second_recognizer_and_siglip_are_of_the_same_faces(tmp_path):
    coded.two_people(tmp_path / "data")
    cache = prepared(tmp_path).cache
    assert torch.equal(cache.second, cache.arcface[:, :24])
    for index, face in enumerate(cache.faces):
        entry, pixels = cache.face(index), np.asarray(Image.open(cache.images[face.image].source))
        height, width = pixels.shape[:2]
        box_px = tuple(np.multiply(face.box, (width, height, width, height)).round())
        expected = coded.SmallTokens().tokens(face_crop(pixels, box_px)).bfloat16().float()
        assert torch.equal(entry.siglip, expected)
        assert torch.allclose(entry.siglip_flipped[0], entry.siglip[1], atol=1)


def test_the_doctors_numbers_are_written(tmp_path):
    coded.two_people(tmp_path / "data")
    done = prepared(tmp_path)
    written = json.loads((tmp_path / "cache/doctor.json").read_text())
    assert written["risk"] == pytest.approx(done.findings.risk)
    assert f"## Risk of copying: {done.findings.risk:.2f}" in done.report.read_text()


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
    models = coded.models(text=text, image=Images(), siglip=Tokens())
    prepared(tmp_path, models)
    assert models.image.asked
    assert models.siglip.asked
    assert text.asked


def test_jittered_references_are_other_crops_of_the_same_faces_and_the_same_every_time(tmp_path):
    coded.two_people(tmp_path / "data")
    plain = prepared(tmp_path).cache
    models = coded.models()
    prepared(tmp_path, models, jitter={"variants": 2})
    assert models.siglip.asked == 2 * 2 * len(plain.faces)  # each flipped too; those without jitter are there already
    cache = read_cache(tmp_path / "cache")
    assert cache.variants == 2
    for index in range(len(cache.faces)):
        crops = [cache.face(index, variant).siglip for variant in range(3)]
        assert torch.equal(crops[0], plain.face(index).siglip)
        assert not torch.equal(crops[1], crops[2])
        for crop in crops[1:]:
            assert 0 < (crop - crops[0]).abs().mean() < 40
    models = coded.models()
    again = prepared(tmp_path, models, jitter={"variants": 2}).cache
    assert models.siglip.asked == 0
    assert again.data == cache.data != plain.data


def test_a_bank_is_shared_as_embeddings_of_strangers_alone(tmp_path):
    coded.two_people(tmp_path / "data")
    shared = tmp_path / "bank.safetensors"
    done = prepared(tmp_path, negatives={"export": str(shared)})
    with safe_open(shared, framework="pt") as file:
        assert list(file.keys()) == ["vectors"]
        embeddings = file.get_tensor("vectors")
    strangers = done.cache.negatives.embeddings[done.cache.negatives.identities == FOREIGN]
    assert torch.equal(embeddings, strangers)
    assert len(embeddings) == done.bank.foreign == 21
    other = coded.two_people(tmp_path / "other/data", negatives=0)
    (other / "groups/three.png").unlink()
    taken = prepared(tmp_path / "other", negatives={"bank": str(shared)})
    assert taken.bank.foreign == 21
    models = coded.models(files={"recognizer.onnx": "cd" * 32})
    with pytest.raises(ValueError, match=r"made with another recognizer\.onnx than this face pack has"):
        prepared(tmp_path / "other", models, negatives={"bank": str(shared)})
    with pytest.raises(ValueError, match="nothing to write"):
        prepared(tmp_path / "other", negatives={"export": str(shared)})


def test_the_page_has_each_persons_risk_and_its_reasons_above_the_faces(tmp_path):
    coded.two_people(tmp_path / "data")
    done = prepared(tmp_path)
    page = (tmp_path / "cache/report.html").read_text()
    assert f"<b>Risk of copying: {done.findings.risk:.2f}" in page
    sections = page.split("<h2>")[1:]
    for section, person in zip(sections, done.findings.people, strict=False):
        assert section.startswith(person.person)
        above, _, faces = section.partition('<div class="faces">')
        assert f"Risk of copying: {person.risk:.2f}" in above
        assert all(f"<td>{name}<td>" in above and f"{part:.2f}" in above for name, part in person.parts.items())
        assert all(words in above for words in person.advice)
        assert faces.count("<img") == person.photos + 2  # and the two held out
