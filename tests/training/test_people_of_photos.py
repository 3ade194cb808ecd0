"""The small rooms of prepare.py, each alone."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, features
from safetensors.numpy import save_file
from withanyone_pack.tests.training import coded_faces as coded

from training.cache.entries import FILLED, FOREIGN
from training.configuration.preparing import PrepareSettings, ratio
from training.configuration.reading import checked
from training.preparing.assignment import assign_names, names_from_left
from training.preparing.captions import head_count, plain_caption
from training.preparing.crops import ENLARGED_AT_MOST, bucket_sizes, crops
from training.preparing.duplicates import duplicates
from training.preparing.negatives import bank, read_bank
from training.preparing.people import ALIKE_SHOWN, MERGE_COSINE, alike, check_folder, clusters
from training.preparing.photos import UnreadablePhoto, decode_photo, difference_hash, hash_distance, pad_photo
from training.preparing.quality import eye_ratio, flags, is_small, pose, sharpness
from withanyone_core.faces.alignment import TEMPLATE_PX


def at(cosine, person=1, other=2):
    """A unit vector with this cosine to a person's direction."""
    first, second = coded.direction(person), coded.direction(person, 900 + other)
    second -= (second @ first) * first
    return cosine * first + np.sqrt(1 - cosine**2) * second / np.linalg.norm(second)


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


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "I;16", "1"])
def test_every_kind_of_image_becomes_rgb(mode):
    image = Image.fromarray(coded.photo((1, 1))).convert("L" if mode in ("I;16", "1") else "RGB")
    image = (
        image.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else image.convert(mode)
    )
    stream = coded.io.BytesIO()
    image.save(stream, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
    pixels = decode_photo(stream.getvalue())
    assert (pixels.shape, pixels.dtype) == ((128, 160, 3), np.uint8)
    assert 20 < pixels.mean() < 235


def test_transparency_is_laid_over_black():
    image = np.full((8, 8, 4), 255, np.uint8)
    image[:, 4:, 3] = 0
    stream = coded.io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    assert decode_photo(stream.getvalue())[0, :, 0].tolist() == [255] * 4 + [0] * 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_shows_the_same(orientation):
    upright = coded.photo((1, 1))
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # PIL's transposes that undo the orientation
    image = Image.fromarray(upright)
    for turn in turns.get(orientation, []):
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = coded.io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    assert np.array_equal(decode_photo(stream.getvalue()), upright)


def test_what_is_no_image_is_refused():
    with pytest.raises(UnreadablePhoto, match="it is no image"):
        decode_photo(b"text")
    whole = coded.png(coded.photo((1, 1)))
    with pytest.raises(UnreadablePhoto, match="it is damaged"):
        decode_photo(whole[: len(whole) // 2])


def test_a_border_keeps_the_photo_in_the_middle():
    photo = coded.photo((1, 1))
    larger, (x, y) = pad_photo(photo)
    assert larger.shape == (192, 240, 3)
    assert np.array_equal(larger[y : y + 128, x : x + 160], photo)
    assert larger.sum() == photo.sum()


def test_a_hash_survives_scaling_and_jpeg_and_tells_photos_apart():
    first, second = coded.photo((1, 1), seed=1), coded.photo((1, 1), seed=2)
    stream = coded.io.BytesIO()
    Image.fromarray(first).resize((320, 256), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=80)
    again = difference_hash(decode_photo(stream.getvalue()))
    assert hash_distance(difference_hash(first), again) <= 4
    assert hash_distance(difference_hash(first), difference_hash(second)) > 10


@pytest.mark.parametrize("distance", [0, 1, 4, 10])
def test_every_near_hash_is_found_and_no_other(distance):
    rng = np.random.default_rng(distance)
    values = [int(value) for value in rng.integers(0, 2**63, 40)]
    near = []
    for value in values:
        for bit in rng.choice(64, distance + int(rng.integers(2)), replace=False):
            value ^= 1 << int(bit)
        near.append(value)
    found = duplicates(values + near, distance)
    expected = {
        40 + number: number
        for number, (value, other) in enumerate(zip(values, near, strict=True))
        if hash_distance(value, other) <= distance
    }
    assert found == expected
    assert 0 < len(expected) < 40


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
    photos = [np.stack([at(0.9, other=1)]), np.stack([at(0.9, other=2)]), np.stack([coded.direction(5)])]
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
    faces = np.stack([coded.direction(3), coded.embedding_of(2, 1), coded.embedding_of(1, 1), 20 * at(0.9)])
    assert assign_names(faces, centres) == {1: "bob", 3: "alice"}
    assert assign_names(faces, centres, {2: "alice"}) == {2: "alice", 1: "bob"}
    assert assign_names(faces[:1], centres) == {}
    assert assign_names(faces, {}) == {}


@pytest.mark.parametrize(("cosine", "found"), [(0.41, {0: "alice"}), (0.39, {})])
def test_a_face_needs_a_cosine_above_0_4(cosine, found):
    assert assign_names(at(cosine)[None], {"alice": coded.direction(1)}) == found


@pytest.mark.parametrize(("second", "found"), [(0.45, {0: "alice"}), (0.55, {})])
def test_a_face_needs_a_margin_over_the_second_person(second, found):
    face = np.zeros(512)
    face[0], face[1] = 0.6, second
    face[2] = np.sqrt(1 - face @ face)
    assert assign_names(face[None], {"alice": np.eye(512)[0], "bob": np.eye(512)[1]}) == found


def test_names_from_left_to_right():
    assert names_from_left([30.0, 10.0, 20.0], ["a", None, "b"]) == {1: "a", 0: "b"}
    assert names_from_left([30.0], ["a", "b"]) is None


def test_buckets_are_multiples_of_16_of_about_the_same_area():
    sizes = bucket_sizes((512, 768), (1.0, 0.75, 2 / 3, 1.5))
    assert (512, 512) in sizes
    for width, height in sizes:
        assert (width % 16, height % 16) == (0, 0)
        nearest = min((512, 768), key=lambda size: abs(size**2 - width * height))
        assert width * height == pytest.approx(nearest**2, rel=0.03)


def test_crops_keep_every_face_for_any_photo():
    rng = np.random.default_rng(0)
    buckets = bucket_sizes((64, 96), (1.0, 0.75, 4 / 3))
    made = 0
    for _ in range(300):
        width, height = (int(side) for side in rng.integers(60, 400, 2))
        faces = []
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.uniform(-10, width - 15), rng.uniform(-10, height - 15)
            faces.append((x, y, x + rng.uniform(12, 60), y + rng.uniform(12, 60)))
        for crop in crops(width, height, faces, buckets, 4, rng):
            made += 1
            x1, y1, x2, y2 = crop.rectangle_px
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            assert (crop.width_px, crop.height_px) in buckets
            assert (x2 - x1) / (y2 - y1) == pytest.approx(crop.width_px / crop.height_px)
            assert crop.width_px / (x2 - x1) <= ENLARGED_AT_MOST + 1e-9
            for face in faces:
                seen = [max(face[0], 0), max(face[1], 0), min(face[2], width), min(face[3], height)]
                assert x1 - 1e-6 <= seen[0]
                assert seen[2] <= x2 + 1e-6
                assert y1 - 1e-6 <= seen[1]
                assert seen[3] <= y2 + 1e-6
    assert made > 400


def test_faces_too_far_apart_fit_nowhere_and_small_photos_only_enlarged():
    rng = np.random.default_rng(0)
    ends = [(0.0, 40.0, 40.0, 80.0), (360.0, 40.0, 400.0, 80.0)]
    assert crops(400, 120, ends, ((64, 64), (96, 64)), 4, rng) == ()
    assert len(crops(400, 120, ends[:1], ((64, 64), (96, 64)), 4, rng)) == 4
    middle = [(10.0, 10.0, 30.0, 30.0)]
    assert crops(40, 40, middle, ((64, 64),), 4, rng) == ()
    assert len(crops(40, 40, middle, ((64, 64),), 4, rng, enlarge=True)) == 4


def test_a_crop_maps_boxes_and_points_as_it_maps_pixels():
    photo = np.zeros((120, 200, 3), np.uint8)
    photo[40:80, 100:150] = 255
    (crop, *_) = crops(200, 120, [(100.0, 40.0, 150.0, 80.0)], ((96, 64),), 1, np.random.default_rng(0))
    lit = np.argwhere(crop.pixels(photo)[..., 0] > 127)
    x1, y1, x2, y2 = crop.box((100.0, 40.0, 150.0, 80.0))
    assert lit.min(axis=0) == pytest.approx((y1 * 64, x1 * 96), abs=1)
    assert lit.max(axis=0) + 1 == pytest.approx((y2 * 64, x2 * 96), abs=1)
    assert crop.points(np.array([[100.0, 80.0]]))[0] == pytest.approx((x1, y2))


def seen_from(eyes, mouth, nose=50.0):
    """Landmarks whose eyes and mouth corners lie at these x, at heights that must not matter."""
    return np.array([[eyes[0], 31.0], [eyes[1], 40.5], [nose, 60.0], [mouth[0], 77.0], [mouth[1], 81.0]])


@pytest.mark.parametrize(
    ("landmarks", "ratio", "word"),
    [
        (TEMPLATE_PX, 1.0, "front"),
        (seen_from((0, 79), (0, 100)), 0.79, "front"),
        (seen_from((0, 78), (0, 100)), 0.78, "partial_profile"),
        (seen_from((30, 70), (0, 100)), 0.4, "partial_profile"),
        (seen_from((30, 69), (0, 100)), 0.39, "profile"),
        (seen_from((30, 70), (20, 100), nose=-3.0), 40 / 103, "profile"),
        (seen_from((69, 30), (0, 60), nose=100.0), 0.39, "profile"),
        (seen_from((5, 5), (5, 5), nose=5.0), 0.0, "profile"),
    ],
)
def test_turned_heads_are_told_apart_as_the_released_program_does(landmarks, ratio, word):
    """Horizontal distance of the eyes over the horizontal extent of the five; a bound itself belongs to the lower."""
    assert eye_ratio(landmarks) == pytest.approx(ratio)
    for scale, shift in ((1, 0), (3.7, 91), (0.1, 1e-3), (1 / 3, 512)):
        assert pose(scale * landmarks + shift) == word
        assert pose((scale * landmarks + shift).astype(np.float32)) == word


def test_a_face_as_wide_as_the_bound_is_not_small_however_it_was_computed():
    for shift in np.linspace(0, 900, 301):
        assert not is_small((shift + 0.1, shift + 0.3, shift + 0.1 + 100.0, shift + 0.3 + 100.0))
        box_px = tuple(np.array([shift, shift, shift + 100, shift + 100], np.float32) / np.float32(3) * np.float32(3))
        assert not is_small(box_px)
    assert is_small((0.0, 0.0, 99.9, 120.0))


def test_flags():
    box, points = (0.0, 0.0, 120.0, 101.0), TEMPLATE_PX
    assert flags(box, points, 200.0, 20.0, 512, 20.0) == ()
    assert flags((0.0, 0.0, 120.0, 99.0), points, 20.0, 11.0, 512, 20.0) == ("small", "blurred", "faint")
    assert is_small(box, 640)
    assert not is_small((0.0, 0.0, 40.0, 40.0), 160)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (112, 112, 3)).astype(np.uint8)
    assert sharpness(noise) > 1000 > 1 > sharpness(np.full((112, 112, 3), 90, np.uint8))


def test_false_negatives_are_dropped():
    own = np.stack([coded.embedding_of(1, 0), coded.embedding_of(2, 0)])
    foreign = 20 * np.stack([at(0.41), at(0.39), at(0.5, person=2), coded.direction(9)]).astype(np.float32)
    found = bank(own, [0, 1], foreign, seed=0, least=0)
    assert (found.foreign, found.dropped, found.filled) == (2, 2, 0)
    assert np.array_equal(found.negatives.embeddings.numpy(), np.concatenate([own, foreign[[1, 3]]]))
    assert found.negatives.identities.tolist() == [0, 1, FOREIGN, FOREIGN]


def test_a_small_bank_is_filled_with_embeddings_of_the_same_kind():
    rng = np.random.default_rng(1)
    spread = np.zeros(512)
    spread[:40] = np.linspace(1, 4, 40)
    foreign = (rng.standard_normal((300, 512)) * spread + 0.5).astype(np.float32)
    own = np.stack([coded.embedding_of(1, 1), coded.embedding_of(2, 1)])
    found = bank(own, [0, 1], foreign, seed=3, least=4000)
    marks = found.negatives.identities.numpy()
    filled = found.negatives.embeddings.numpy()[marks == FILLED]
    assert (marks[:2].tolist(), found.foreign, found.filled) == ([0, 1], 300, 3700)
    assert filled.mean(axis=0) == pytest.approx(foreign.mean(axis=0), abs=0.3)
    assert filled.std(axis=0)[:40] == pytest.approx(foreign.std(axis=0)[:40], rel=0.1)
    assert filled.std(axis=0)[40:].max() < 1e-5
    assert "3700 random embeddings fill up the rest" in found.summary()
    again = bank(own, [0, 1], foreign, seed=3, least=4000)
    assert np.array_equal(again.negatives.embeddings, found.negatives.embeddings)


def test_without_foreign_faces_random_directions_fill_up():
    own = np.stack([coded.embedding_of(1, 1), coded.embedding_of(2, 1)])
    found = bank(own, [0, 1], np.zeros((0, 512), np.float32), seed=0)
    filled = found.negatives.embeddings.numpy()[2:]
    assert len(filled) == found.filled == 512
    lengths = np.linalg.norm(filled, axis=1)
    assert lengths.mean() == pytest.approx(20, rel=0.02)
    # Random directions in 512 dimensions: cosines spread by 1 / 22.6.
    assert (filled @ own[0] / lengths / 20).std() == pytest.approx(1 / 22.6, rel=0.15)


def test_a_bank_file(tmp_path):
    embeddings = np.random.default_rng(0).standard_normal((7, 512)).astype(np.float32)
    embeddings[3] = np.nan
    save_file({"vectors": embeddings}, tmp_path / "bank.safetensors")
    assert np.array_equal(read_bank(tmp_path / "bank.safetensors", 512), np.delete(embeddings, 3, axis=0))
    save_file({"vectors": embeddings[:, :128].copy()}, tmp_path / "short.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match=r"holds vectors \[7, 128\]; expected `vectors` of shape \[number, 512\]"):
        read_bank(tmp_path / "short.safetensors", 512)
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_bank(tmp_path / "text.safetensors", 512)
    with pytest.raises(FileNotFoundError, match="There is no bank"):
        read_bank(tmp_path / "none.safetensors", 512)


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


OLD_PILLOW = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF; 11.3 does")


@pytest.mark.parametrize("kind", ["GIF", pytest.param("AVIF", marks=OLD_PILLOW)])
def test_avif_and_the_first_frame_of_a_gif_are_read(kind):
    image, stream = coded.photo(width=96, height=64), io.BytesIO()
    options = {"save_all": True, "append_images": [Image.new("RGB", (96, 64))]} if kind == "GIF" else {"quality": 95}
    Image.fromarray(image).save(stream, kind, **options)
    read = decode_photo(stream.getvalue()).astype(float)
    assert read.shape == image.shape
    assert abs(read - image).mean() < 16


def test_floating_point_pixels_are_refused_rather_than_black():
    stream = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(stream, "TIFF")
    with pytest.raises(UnreadablePhoto, match="floating-point"):
        decode_photo(stream.getvalue())


def test_heic_is_read_upright():
    """Where pillow-heif, which is optional, is installed."""
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is optional and not installed")
    heif.register_heif_opener()
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32] = 200
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(image).save(stream, "HEIF", exif=exif.tobytes())
    read = decode_photo(stream.getvalue())
    assert read.shape == (96, 64, 3)
    assert read[:, 40:].mean() > 190
    assert read[:, :24].mean() < 10
