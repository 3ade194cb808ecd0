import json

import cv2
import numpy as np
import pytest
from withanyone_pack.tests.metrics.small_judges import ARCFACE, write_judge
from withanyone_pack.withanyone_core.faces.alignment import TEMPLATE_PX, aligned_face
from withanyone_pack.withanyone_core.identity import Face
from withanyone_pack.withanyone_core.metrics.judge_card import read_card, shipped_cards
from withanyone_pack.withanyone_core.metrics.judges import BATCH, load_judge

RANDOM = np.random.default_rng(3)
PHOTO = RANDOM.integers(0, 256, (240, 320, 3), dtype=np.uint8)


def a_face(shift=(60.0, 40.0), scale=1.3) -> Face:
    points = (TEMPLATE_PX * scale + shift).astype(np.float32)
    return Face((0.0, 0.0, 1.0, 1.0), 0.9, points, np.zeros(512, np.float32))


def shown(crop, mean=127.5, std=127.5):
    """What the small recognizer answers to a crop [S, S, 3] in the order it is to be given."""
    return ((crop[0, : len(crop) // 2].T.ravel().astype(np.float32) - mean) / std).astype(np.float32)


def test_an_arcface_judge_sees_the_upright_rgb_crop(tmp_path):
    judge = load_judge(write_judge(tmp_path))
    face = a_face()
    found = judge.embed(PHOTO, [face])
    assert found.shape == (1, 168)
    assert found.dtype == np.float32
    assert np.array_equal(found[0], shown(aligned_face(PHOTO, face.landmarks_px)))


def test_an_adaface_judge_sees_bgr(tmp_path):
    face = a_face()
    found = load_judge(write_judge(tmp_path, colours="bgr")).embed(PHOTO, [face])
    assert np.array_equal(found[0], shown(aligned_face(PHOTO, face.landmarks_px)[..., ::-1]))


def test_a_facenet_judge_sees_160_pixels_of_the_box_stretched(tmp_path):
    card = json.loads(shipped_cards()["facenet_vggface2"].read_text())
    path = write_judge(tmp_path, 160, **{key: card[key] for key in ("template", "mean", "std")})
    judge = load_judge(path)
    template = card["template"]
    # A face that lies where the template has it: the crop is the photo's corner, stretched from 125 to 160 pixels.
    points = np.array(template["points_px"], np.float32)
    crop = judge.crops(PHOTO, [points])[0]
    stretched = cv2.warpAffine(PHOTO, np.array([[160 / 125, 0, 0], [0, 1, 0]]), (160, 160))
    assert np.abs(crop.astype(int) - stretched).max() <= 2
    assert np.array_equal(judge.embed_crops(crop[None])[0], shown(crop, 127.5, 128.0))


def test_a_value_is_normalized_by_its_own_channel(tmp_path):
    mean, std = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]
    face = a_face()
    found = load_judge(write_judge(tmp_path, colours="bgr", mean=mean, std=std)).embed(PHOTO, [face])[0]
    crop = aligned_face(PHOTO, face.landmarks_px)[..., ::-1]
    expected = np.concatenate([(crop[0, :56, channel] - mean[channel]) / std[channel] for channel in range(3)])
    assert np.allclose(found, expected)


@pytest.mark.parametrize(
    "options", [{"batch": 1}, {"batch": 2}, {"batch": BATCH + 8}, {"batch": "batch"}, {"nhwc": True, "layout": "nhwc"}]
)
@pytest.mark.parametrize("count", [0, 1, 3, BATCH + 1])
def test_any_number_of_faces_in_any_batch(tmp_path, options, count):
    judge = load_judge(write_judge(tmp_path, **options))
    faces = [a_face((number, 2.0 * number)) for number in range(count)]
    found = judge.embed(PHOTO, faces)
    assert found.shape == (count, 168)
    for embedding, face in zip(found, faces, strict=True):
        assert np.array_equal(embedding, shown(aligned_face(PHOTO, face.landmarks_px)))


def test_half_precision_and_hidden_lengths_are_served(tmp_path):
    face = a_face()
    expected = shown(aligned_face(PHOTO, face.landmarks_px))
    assert np.allclose(load_judge(write_judge(tmp_path / "a", half=True)).embed(PHOTO, [face])[0], expected, atol=1e-3)
    judge = load_judge(write_judge(tmp_path / "b", opaque=True, vector=168))
    assert np.array_equal(judge.embed(PHOTO, [face])[0], expected)


def test_one_of_several_outputs_is_chosen_by_name(tmp_path):
    path = write_judge(tmp_path, outputs=("norm", "vector"), output="vector")
    assert load_judge(path).embed(PHOTO, [a_face()]).shape == (1, 168)
    with pytest.raises(ValueError, match=r"small\.onnx gives"):
        load_judge(write_judge(tmp_path, outputs=("norm", "vector")))
    with pytest.raises(ValueError, match="no output 'feature'; it has norm, vector"):
        load_judge(write_judge(tmp_path, outputs=("norm", "vector"), output="feature"))


def test_the_fingerprint_tells_files_and_inputs_apart_but_not_names(tmp_path):
    first = load_judge(write_judge(tmp_path / "a")).fingerprint
    assert load_judge(write_judge(tmp_path / "b", name="other", about="words")).fingerprint == first
    assert load_judge(write_judge(tmp_path / "c", colours="bgr")).fingerprint != first
    assert load_judge(write_judge(tmp_path / "d", batch=1)).fingerprint != first


def test_a_recognizer_used_in_training_says_so(tmp_path):
    assert load_judge(write_judge(tmp_path, trained_with=True)).info.trained_with
    trained = {name: read_card(path).trained_with for name, path in shipped_cards().items()}
    assert trained == {
        "arcface_w600k_r50": False,
        "arcface_glintr100": True,
        "facenet_vggface2": False,
        "adaface_ir50_ms1mv2": False,
    }


def test_shipped_cards_say_what_each_recognizer_wants():
    cards = {name: read_card(path) for name, path in shipped_cards().items()}
    wanted = {name: (card.size_px, card.colours, card.mean, card.std) for name, card in cards.items()}
    assert wanted == {
        "arcface_w600k_r50": (112, "rgb", 127.5, 127.5),
        "arcface_glintr100": (112, "rgb", 127.5, 127.5),
        "facenet_vggface2": (160, "rgb", 127.5, 128.0),
        "adaface_ir50_ms1mv2": (112, "bgr", 127.5, 127.5),
    }
    assert all("nverified" in card.about for card in cards.values())


def test_an_onnx_file_finds_its_card(tmp_path):
    write_judge(tmp_path)
    assert load_judge(tmp_path / "small.onnx").info.name == "small"
    named = (tmp_path / "small.onnx").rename(tmp_path / "w600k_r50.onnx")
    with pytest.raises(ValueError, match=r"168.*its card ArcFace R50.*says 512"):
        load_judge(named)
    stranger = named.rename(tmp_path / "mystery.onnx")
    with pytest.raises(FileNotFoundError, match=r"mystery\.json beside it.*known: .*w600k_r50\.onnx"):
        load_judge(stranger)


def test_the_recognizer_may_lie_elsewhere(tmp_path):
    write_judge(tmp_path / "models")
    card = tmp_path / "card.json"
    card.write_text(json.dumps(ARCFACE))
    assert load_judge(card, tmp_path / "models").info.name == "small"
    assert load_judge(card, tmp_path / "models" / "small.onnx").width == 168
    with pytest.raises(FileNotFoundError, match=r"small\.onnx of the judge small is missing"):
        load_judge(card)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colours": "grey"}, "colours = 'grey'; expected rgb or bgr"),
        ({"size_px": "112"}, "size_px = '112'; expected 16 to 1024"),
        ({"std": 0}, "std = 0; expected one or three numbers, none of them 0"),
        ({"mean": [1, 2]}, "mean = "),
        ({"layout": "chw"}, "layout = 'chw'"),
        ({"trained_with": "yes"}, "trained_with = 'yes'; expected true or false"),
        ({"template": "ffhq"}, "template 'ffhq'; expected arcface, or"),
        ({"template": {"points_px": [[1, 2]], "size_px": [1, 1]}}, "five"),
        ({"template": {"points_px": [[1, 2]] * 5, "size_px": [112, 112]}}, "five"),
        ({"template": {"points_px": TEMPLATE_PX.tolist(), "size_px": [0, 112]}}, "five"),
        ({"colour": "rgb"}, "unknown key 'colour'"),
    ],
)
def test_a_wrong_card_is_refused_with_a_readable_message(tmp_path, change, words):
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**ARCFACE, **change}))
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        read_card(path)


def test_a_card_may_begin_with_the_mark_that_windows_writes(tmp_path):
    path = tmp_path / "card.json"
    path.write_text("\ufeff" + json.dumps(ARCFACE), encoding="utf-8")
    assert read_card(path).name == ARCFACE["name"]


def test_a_card_that_is_none_is_refused(tmp_path):
    path = tmp_path / "card.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"card\.json is no JSON"):
        read_card(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="is list; expected an object"):
        read_card(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="lacks 'name'"):
        read_card(path)
    with pytest.raises(FileNotFoundError, match="Shipped ones: adaface_ir50_ms1mv2"):
        read_card(tmp_path / "none.json")


def test_a_recognizer_that_does_not_fit_its_card_is_refused(tmp_path):
    path = write_judge(tmp_path, 160)
    path.write_text(json.dumps(ARCFACE))
    with pytest.raises(ValueError, match=r"small\.onnx takes .*160.*gives one \[batch, 3, 112, 112\]"):
        load_judge(path)
    path = write_judge(tmp_path, nhwc=True)
    with pytest.raises(ValueError, match="correct size_px and layout"):
        load_judge(path)
    path = write_judge(tmp_path, opaque=True, vector=100)
    with pytest.raises(ValueError, match="gives 168 numbers a face, and its card small says 100"):
        load_judge(path).embed(PHOTO, [a_face()])
    (tmp_path / "small.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match=r"small\.onnx is not an ONNX file \(git-LFS pointer\)"):
        load_judge(path)
    (tmp_path / "small.onnx").write_bytes(b"no network \x00\x01")
    with pytest.raises(ValueError, match=r"small\.onnx \(13 bytes\) is not a complete ONNX file"):
        load_judge(path)


def test_a_provider_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="has no NoSuchProvider; it offers"):
        load_judge(write_judge(tmp_path), providers=["NoSuchProvider"])


@pytest.mark.parametrize("points", [np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_landmarks_that_cannot_be_aligned_are_refused(tmp_path, points):
    judge = load_judge(write_judge(tmp_path))
    with pytest.raises(ValueError, match="landmarks of face 2"):
        judge.crops(PHOTO, [TEMPLATE_PX, points])
