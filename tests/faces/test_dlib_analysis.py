"""dlib's judge on real photographs; without its packages these tests are left out."""

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.faces.alignment import TEMPLATE_PX, similarity
from withanyone_pack.withanyone_core.faces.analysis import load_face_analysis
from withanyone_pack.withanyone_core.faces.dlib_analysis import is_dlib_installed
from withanyone_pack.withanyone_core.faces.licences import parts_of
from withanyone_pack.withanyone_core.identity_check.__main__ import JSON, main
from withanyone_pack.withanyone_core.metrics.judges import judge_of, load_judge

GROUP = Path(importlib.util.find_spec("insightface").origin).parent / "data/images/t1.jpg"
needs_dlib = pytest.mark.skipif(
    not is_dlib_installed(), reason="needs the extra `judge`: python -m pip install dlib-bin face_recognition_models"
)


@pytest.fixture(scope="module")
def photo():
    return np.asarray(Image.open(GROUP).convert("RGB"))


@pytest.fixture(scope="module")
def judge():
    return load_face_analysis(Path("dlib"))


@pytest.fixture(scope="module")
def faces(judge, photo):
    """The six people of the photograph from left to right."""
    return sorted(judge.faces(photo), key=lambda face: face.box_px[0])


@needs_dlib
def test_six_people_are_found_and_told_apart(faces):
    assert len(faces) == 6
    embeddings = np.stack([face.embedding / np.linalg.norm(face.embedding) for face in faces])
    cosines = (embeddings @ embeddings.T)[np.triu_indices(6, 1)]
    assert cosines.max() < 0.45  # 0.8 and more without the centre taken away
    assert all(0.5 < face.score < 1 for face in faces)


@needs_dlib
def test_landmarks_lie_where_arcface_has_them(faces):
    for face in faces:
        matrix = similarity(face.landmarks_px.astype(np.float64))
        upright = face.landmarks_px @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(upright - TEMPLATE_PX).max() < 12  # of 112 pixels
        x1, y1, x2, y2 = face.box_px
        assert (face.landmarks_px > (x1 - 5, y1 - 5)).all()
        assert (face.landmarks_px < (x2 + 5, y2 + 5)).all()


@needs_dlib
def test_a_large_photo_is_reduced_and_boxes_are_those_of_the_photo(judge, photo, faces):
    large = np.asarray(Image.fromarray(photo).resize((3840, 2658)))
    found = sorted(judge.faces(large), key=lambda face: face.box_px[0])
    assert len(found) == 6
    for one, other in zip(found, faces, strict=True):
        assert np.allclose(np.array(one.box_px) / 3, other.box_px, atol=20)


@needs_dlib
def test_nothing_of_it_is_for_research_only(judge):
    assert judge_of(judge).name == "dlib ResNet"
    assert not judge_of(judge).trained_with
    assert set(parts_of(judge).values()) == {"BSL-1.0 (dlib)", "CC0-1.0 (dlib-models)"}


@needs_dlib
def test_a_photo_without_a_face_says_how_likely_the_likeliest_is(judge):
    nothing = np.full((200, 200, 3), 90, np.uint8)
    assert judge.faces(nothing) == ()
    assert 0 <= judge.best_score(nothing) < 0.5


@pytest.fixture(scope="module")
def people(tmp_path_factory, photo, faces):
    """Photos of three people made of one photograph: each person four times, turned, lit and focused otherwise."""
    folder = tmp_path_factory.mktemp("people")
    for number, face in enumerate(faces[:3]):
        for variant in range(4):
            path = folder / f"person {number}" / f"{variant}.png"
            path.parent.mkdir(exist_ok=True)
            otherwise(cut(photo, face), variant).save(path)
    return folder


def cut(photo, face, room=0.7):
    x1, y1, x2, y2 = face.box_px
    more = room * (x2 - x1)
    return Image.fromarray(photo).crop(tuple(round(edge) for edge in (x1 - more, y1 - more, x2 + more, y2 + more)))


def otherwise(image, variant):
    """Another light, angle, sharpness and side for each variant; 4 and more are those of images, not of photos."""
    random = np.random.default_rng(variant)
    image = image.resize((256, 256), Image.Resampling.LANCZOS)
    if variant % 2:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    corners = (np.array([(0, 0), (0, 256), (256, 256), (256, 0)]) + random.uniform(-26, 26, (4, 2))).ravel()
    image = image.transform((256, 256), Image.Transform.QUAD, corners.tolist(), Image.Resampling.BICUBIC)
    image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(random.uniform(0.6, 1.4))).enhance(
        random.uniform(0.6, 1.4)
    )
    small = int(random.integers(90, 180))
    return image.resize((small, small)).resize((256, 256), Image.Resampling.BICUBIC)


def scene(*parts):
    """Images of 256 pixels side by side."""
    whole = Image.new("RGB", (256 * len(parts), 256), (90, 90, 90))
    for place, part in enumerate(parts):
        if part is not None:
            whole.paste(part.resize((256, 256)), (256 * place, 0))
    return whole


@needs_dlib
def test_faults_planted_in_real_photographs_get_their_names(tmp_path, photo, faces, people):
    cuts = [cut(photo, face) for face in faces]
    one, two, other = otherwise(cuts[0], 11), otherwise(cuts[1], 12), otherwise(cuts[4], 13)
    pasted = Image.open(people / "person 0/2.png")
    images = {
        "kept": scene(one, two),
        "swapped": scene(two, one),
        "pasted": scene(pasted, two),
        "lost": scene(None, two),
        "extra person": scene(one, two, other),
    }
    for name, image in images.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        image.save(tmp_path / "images" / name / "0.png")
    places = {"person 0": [0, 0, 256, 256], "person 1": [256, 0, 512, 256]}
    entries = {name: {"size": image.size, "people": places} for name, image in images.items()}
    layout = {"images": {f"{name}/0.png": {**entry, "size": list(entry["size"])} for name, entry in entries.items()}}
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    arguments = [tmp_path / "images", "--people", people, "--layout", tmp_path / "layout.json"]
    assert main([*map(str, arguments), "--out", str(tmp_path / "report"), "--recognizer", "dlib"]) == 1
    report = json.loads((tmp_path / "report" / JSON).read_text())
    found = {line["variant"]: {each["person"]: each["name"] for each in line["findings"]} for line in report["images"]}
    swapped = found.pop("swapped")
    assert swapped == {"person 0": "swapped", "person 1": "swapped"}
    assert {name: names["person 0"] for name, names in found.items() if name != "extra person"} == {
        "kept": "kept",
        "pasted": "pasted",
        "lost": "lost",
    }
    assert found["extra person"]["nobody expected"] == "extra person"
    assert {names["person 1"] for names in found.values()} == {"kept"}
    assert report["recognizer"]["name"] == "dlib ResNet"


def copied(path):
    """A photo put into an image: smaller, brighter, and saved with loss."""
    photo = ImageEnhance.Brightness(Image.open(path)).enhance(1.15).resize((190, 190), Image.Resampling.LANCZOS)
    saved = io.BytesIO()
    photo.save(saved, "JPEG", quality=80)
    return Image.open(saved)


@needs_dlib
def test_a_pasted_photograph_is_told_from_another_photo_of_the_person(tmp_path, photo, faces, people):
    entries = {}
    for number in range(3):
        images = {
            "pasted": copied(people / f"person {number}/{number}.png"),
            "other": otherwise(cut(photo, faces[number]), 20 + number),
        }
        for name, image in images.items():
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            scene(image).save(tmp_path / f"images/{name}/{number}.png")
            entries[f"{name}/{number}.png"] = {"people": {f"person {number}": None}}
    (tmp_path / "layout.json").write_text(json.dumps({"images": entries}))
    arguments = [tmp_path / "images", "--people", people, "--layout", tmp_path / "layout.json"]
    main([*map(str, arguments), "--out", str(tmp_path / "report"), "--recognizer", "dlib"])
    report = json.loads((tmp_path / "report" / JSON).read_text())
    found = {(line["variant"], line["name"]): line["findings"][0] for line in report["images"]}
    assert {found["pasted", f"{number}.png"]["name"] for number in range(3)} == {"pasted"}, found
    assert [found["pasted", f"{number}.png"]["photo"] for number in range(3)] == [0, 1, 2]
    assert "pasted" not in {found["other", f"{number}.png"]["name"] for number in range(3)}, found


@needs_dlib
def test_the_command_works_where_insightface_and_onnxruntime_are_absent(tmp_path, people):
    (tmp_path / "images").mkdir()
    scene(Image.open(people / "person 0/1.png"), Image.open(people / "person 1/1.png")).save(tmp_path / "images/0.png")
    blocked = "import sys; sys.modules |= dict.fromkeys(('insightface', 'onnxruntime', 'onnx'))"
    run = f"{blocked}; from withanyone_core.identity_check.__main__ import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["images", "--people", str(people), "--out", "report"]
    done = subprocess.run(
        [sys.executable, "-c", run, *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "images checked by dlib ResNet" in done.stdout, done.stderr
    found = json.loads((tmp_path / "report" / JSON).read_text())["images"][0]["findings"]
    assert {each["person"] for each in found if each["name"] in ("kept", "pasted", "unclear")} >= {
        "person 0",
        "person 1",
    }


def test_without_a_recognizer_the_command_says_what_to_install(tmp_path, capsys):
    if is_dlib_installed():
        pytest.skip("the extra `judge` is installed, so there is one")
    (tmp_path / "x.png").write_bytes(b"")
    assert main([str(tmp_path), "--people", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "pip install dlib-bin face_recognition_models" in capsys.readouterr().err


def test_dlib_asked_for_and_absent_says_the_same(tmp_path):
    if is_dlib_installed():
        pytest.skip("the extra `judge` is installed")
    with pytest.raises(RuntimeError, match="pip install dlib-bin face_recognition_models"):
        load_face_analysis(Path("dlib"))


@needs_dlib
def test_a_judge_of_faces_that_another_detector_has_found(faces, photo):
    """Its own landmarks stray by less than a person's two photos differ in."""
    judge = load_judge(Path("dlib"))
    assert judge.embed(photo, []).shape == (0, judge.width)
    unit = [
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (judge.embed(photo, faces), np.stack([face.embedding for face in faces]))
    ]
    cosines = unit[0] @ unit[1].T
    assert np.diag(cosines).min() > 0.95
    assert cosines[~np.eye(len(faces), dtype=bool)].max() < 0.45
    assert not judge.info.trained_with
    assert judge.fingerprint == load_judge(Path("dlib")).fingerprint


@needs_dlib
def test_a_folder_called_dlib_is_a_judge_like_any_other(tmp_path):
    (tmp_path / "dlib").mkdir()
    with pytest.raises(FileNotFoundError, match="There is no judge's card"):
        load_judge(tmp_path / "dlib")
