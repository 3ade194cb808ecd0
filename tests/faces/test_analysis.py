import logging
import shutil
import subprocess
import sys
from importlib import metadata

import cv2
import numpy as np
import pytest
from withanyone_pack.tests.faces.small_pack import (
    BOX_SIDE,
    DETECTOR,
    RECOGNIZER,
    SHOWN,
    TEMPLATE_PX,
    photo_with,
    write_pack,
)
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.faces import analysis as module
from withanyone_pack.withanyone_core.faces.__main__ import main
from withanyone_pack.withanyone_core.faces.analysis import load_face_analysis, onnx_folder
from withanyone_pack.withanyone_core.faces.installation import install_command

SIDE = 160
FAINT, STRONG, LARGE = (140, 0, 0), (240, 0, 0), (0, 200, 0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("models") / "antelopev2")


@pytest.fixture(scope="module")
def analysis(pack):
    return load_face_analysis(pack, "CPU", det_size=SIDE)


def test_faces_come_by_descending_score_with_boxes_and_landmarks(analysis):
    faces = analysis.faces(photo_with({(2, 3): FAINT, (12, 3): STRONG, (2, 12): LARGE}))
    assert [round(face.score, 2) for face in faces] == [0.94, 0.78, 0.55]
    assert np.allclose(faces[0].box_px, (88, 16, 120, 48))
    assert np.allclose(faces[1].box_px, (0, 80, 64, 144))
    assert np.allclose(faces[0].landmarks_px, (88, 16) + TEMPLATE_PX / 112 * BOX_SIDE * 8, atol=1e-3)
    assert faces[0].embedding.dtype == np.float32
    assert faces[0].embedding.shape == (512,)


def test_embedding_is_the_raw_answer_to_the_upright_rgb_face(analysis):
    photo = photo_with({(12, 3): STRONG})
    (face,) = analysis.faces(photo)
    scale = 112 / 32  # the detector's box is a shrunken template: a shift and a scale
    matrix = np.array([[scale, 0, -88 * scale], [0, scale, -16 * scale]])
    upright = cv2.warpAffine(photo, matrix, (112, 112), flags=cv2.INTER_LINEAR, borderValue=0)
    numbers = (upright.astype(np.float32) - 127.5) / 127.5
    expected = numbers.transpose(2, 0, 1).reshape(-1)[SHOWN]
    assert np.abs(face.embedding - expected).max() <= 1.01 / 127.5  # warpAffine rounds positions to 1/32 pixel
    assert np.abs(face.embedding - expected).mean() < 1e-3
    assert np.linalg.norm(face.embedding) > 5  # not normalized


def test_channels_are_turned_once_for_both_models(analysis):
    photo = photo_with({(12, 3): STRONG})
    (face,) = analysis.faces(photo)
    red, blue = face.embedding[SHOWN < 112 * 112], face.embedding[SHOWN >= 2 * 112 * 112]
    assert red.max() > 0.8
    assert blue.max() < -0.5
    assert analysis.faces(np.ascontiguousarray(photo[:, :, ::-1])) == ()


def test_detection_size_and_threshold_are_the_ones_given(pack):
    photo = photo_with({(2, 3): FAINT})
    assert len(load_face_analysis(pack, "CPU", SIDE, 0.5).faces(photo)) == 1
    assert load_face_analysis(pack, "CPU", SIDE, 0.6).faces(photo) == ()
    # At twice the size the 8-pixel cell is seen by four cells, and only one size is looked at.
    assert len(load_face_analysis(pack, "CPU", 2 * SIDE, 0.5).faces(photo)) == 1
    assert load_face_analysis(pack, "CPU", 2 * SIDE, 0.5).faces(photo)[0].box_px[2] <= 40


def test_overlapping_detections_become_one_face(analysis):
    assert len(analysis.faces(photo_with({(12, 3): STRONG, (13, 3): FAINT}))) == 1


def test_best_score_looks_below_the_threshold_and_leaves_it(analysis):
    photo = photo_with({(2, 3): (60, 0, 0)})
    assert analysis.faces(photo) == ()
    assert analysis.best_score(photo) == pytest.approx(0.2, abs=0.05)
    assert analysis.best_score(photo_with({})) == 0.0
    assert analysis.faces(photo) == ()


def test_landmarks_in_one_point_are_no_face(analysis, monkeypatch):
    boxes = np.array([[10, 10, 50, 50, 0.9]], np.float32)
    monkeypatch.setattr(analysis._detector, "detect", lambda photo: (boxes, np.full((1, 5, 2), 30.0)))
    assert analysis.faces(photo_with({})) == ()


def test_nested_folder_is_read_and_not_moved(tmp_path):
    outer = tmp_path / "antelopev2"
    write_pack(outer / "antelopev2")
    before = sorted(tmp_path.rglob("*"))
    assert onnx_folder(outer) == outer / "antelopev2"
    assert len(load_face_analysis(outer, "CPU", SIDE).faces(photo_with({(12, 3): STRONG}))) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_unneeded_models_of_the_pack_are_not_opened(pack, tmp_path):
    folder = shutil.copytree(pack, tmp_path / "antelopev2")
    (folder / "1k3d68.onnx").write_bytes(b"not read")
    assert load_face_analysis(folder, "CPU", SIDE).model_name.startswith("antelopev2/")


def test_missing_folder_says_which_files_go_where(tmp_path):
    folder = tmp_path / "antelopev2"
    with pytest.raises(FileNotFoundError, match=r"does not exist. Put scrfd_10g_bnkps.onnx .* glintr100.onnx") as error:
        load_face_analysis(folder)
    assert str(folder) in str(error.value)
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no .onnx file. Put"):
        load_face_analysis(folder)


@pytest.mark.parametrize(("present", "missing"), [("detector", "recognizer"), ("recognizer", "detector")])
def test_half_a_pack_says_which_half_is_missing(tmp_path, present, missing):
    write_pack(tmp_path / "half", detector=present == "detector", recognizer=present == "recognizer")
    with pytest.raises(FileNotFoundError, match=f"half holds no {missing}. Put {DETECTOR}"):
        load_face_analysis(tmp_path / "half")


@pytest.mark.parametrize("name", [DETECTOR, RECOGNIZER])
def test_half_downloaded_file_is_named(pack, tmp_path, name):
    folder = shutil.copytree(pack, tmp_path / "antelopev2")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=rf"{name} \({len(content) // 2} bytes\) is not a complete ONNX file. Download"
    ):
        load_face_analysis(folder)


def test_another_recognizer_is_warned_about_and_another_width_refused(tmp_path, caplog):
    folder = write_pack(tmp_path / "buffalo", width=128)
    (folder / RECOGNIZER).rename(folder / "w600k_r50.onnx")
    with caplog.at_level(logging.WARNING, "withanyone"):
        other = load_face_analysis(folder, "CPU", SIDE)
    assert "recognized by w600k_r50.onnx" in caplog.text
    with pytest.raises(ValueError, match=r"w600k_r50.onnx gives 128 numbers per face; WithAnyone needs the 512"):
        other.faces(photo_with({(12, 3): STRONG}))


def test_provider_that_is_not_there(pack):
    with pytest.raises(
        RuntimeError, match=r"DirectML was chosen .* offers only CPU. .* or install onnxruntime-directml"
    ):
        load_face_analysis(pack, "DirectML")
    with pytest.raises(ValueError, match="The provider is 'TPU'; expected one of CPU, CUDA"):
        load_face_analysis(pack, "TPU")


def test_both_runtimes_are_noticed_with_a_one_line_repair(pack, monkeypatch):
    real = metadata.distribution
    monkeypatch.setattr(module.metadata, "distribution", lambda name: real("onnxruntime" if "onnx" in name else name))
    repair = r"uninstall -y onnxruntime onnxruntime-gpu && python -m pip install onnxruntime-gpu"
    with pytest.raises(RuntimeError, match=rf"Both onnxruntime and onnxruntime-gpu are installed .*{repair}"):
        load_face_analysis(pack, "CUDA")
    load_face_analysis(pack, "CPU")


def test_silent_fall_back_to_the_cpu_is_said(pack, monkeypatch):
    import onnxruntime

    monkeypatch.setitem(module.PROVIDERS, "CUDA", ("AzureExecutionProvider", "onnxruntime-gpu"))
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["CPUExecutionProvider"])
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no second provider")
    with pytest.raises(RuntimeError, match=r"could not start CUDA and fell back to the CPU.*Choose CPU"):
        load_face_analysis(pack, "CUDA")


def test_missing_insightface_says_how_to_install_it_alone(pack, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(
        RuntimeError, match=r"not installed. Run `python -m pip install --no-deps insightface` with the"
    ):
        load_face_analysis(pack)


@pytest.mark.parametrize(
    ("module", "package"),
    [("onnxruntime", "onnxruntime"), ("cv2", "opencv-python-headless"), ("skimage", "scikit-image")],
)
def test_only_what_no_build_provides_is_asked_for(monkeypatch, module, package):
    assert install_command() == ""
    monkeypatch.setitem(sys.modules, module, None)
    assert install_command() == f"python -m pip install {package} numpy=={np.__version__}"
    monkeypatch.setitem(sys.modules, "insightface", None)
    assert install_command().startswith("python -m pip install --no-deps insightface && python -m pip install ")


def test_the_command_says_whether_faces_can_be_analysed(monkeypatch, capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == "Faces can be analysed.\n"
    monkeypatch.setitem(sys.modules, "insightface", None)
    assert main([]) == 1
    assert capsys.readouterr().out == "python -m pip install --no-deps insightface\n"


def test_importing_the_room_imports_no_face_library():
    names = [path.stem for path in (ROOT / "withanyone_core/faces").glob("[a-z]*.py")]
    lines = [
        "import sys; sys.path.insert(0, 'tests'); from pack import load_pack; load_pack()",
        f"import importlib; [importlib.import_module('withanyone_pack.withanyone_core.faces.' + n) for n in {names}]",
        "assert not {'insightface', 'cv2', 'onnxruntime', 'onnx', 'comfy', 'transformers'} & set(sys.modules)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0
