"""YuNet, SFace and AuraFace: how they are asked, with stand-ins for the files, which the pack does not have."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from withanyone_pack.tests.faces.small_pack import small_recognizer
from withanyone_pack.withanyone_core.faces.alignment import TEMPLATE_PX, aligned_face
from withanyone_pack.withanyone_core.faces.analysis import load_face_analysis
from withanyone_pack.withanyone_core.faces.licences import licence_of, parts_of
from withanyone_pack.withanyone_core.faces.opencv_analysis import OpenCvAnalysis, _arcface, _sface
from withanyone_pack.withanyone_core.metrics.judges import judge_of

YUNET, SFACE = "face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx"
POINTS = TEMPLATE_PX / 2 + (20, 10)


class Detector:
    """Answers as cv2.FaceDetectorYN does: rows of 15 numbers in pixels of the image it was given, or None."""

    def __init__(self, *faces):
        self.faces, self.sizes, self.threshold = faces, [], 0.0

    def setInputSize(self, size):
        self.sizes.append(size)

    def setScoreThreshold(self, threshold):
        self.threshold = threshold

    def detect(self, image):
        self.seen = image
        scale = image.shape[1] / 200
        rows = [[*(np.array([20, 10, 56, 56, *points.ravel()]) * scale), score] for points, score in self.faces]
        rows = [row for row in rows if row[-1] >= self.threshold]
        return 1, np.array(rows, np.float32) if rows else None


def analysis(tmp_path, *faces, embed=lambda photo, points: np.ones((len(points), 128), np.float32)):
    detector = Detector(*faces)
    return detector, OpenCvAnalysis(detector, embed, (tmp_path / YUNET, tmp_path / SFACE), 100, 0.6)


def test_faces_come_by_score_in_pixels_of_the_photo(tmp_path):
    detector, yunet = analysis(tmp_path, (POINTS, 0.7), (POINTS + 3, 0.9), (POINTS, 0.5))
    photo = np.zeros((160, 200, 3), np.uint8)
    photo[..., 0] = 200
    found = yunet.faces(photo)
    assert [round(face.score, 2) for face in found] == [0.9, 0.7]
    assert detector.sizes[-1] == (100, 80)
    assert detector.seen[0, 0].tolist() == [0, 0, 200]  # OpenCV's order of channels
    assert np.allclose(found[1].box_px, (20, 10, 76, 66), atol=0.01)
    assert np.allclose(found[1].landmarks_px, POINTS, atol=0.01)
    assert yunet.best_score(photo) == pytest.approx(0.9)


def test_a_photo_without_faces_and_a_face_in_one_point(tmp_path):
    photo = np.zeros((160, 200, 3), np.uint8)
    assert analysis(tmp_path)[1].faces(photo) == ()
    assert analysis(tmp_path)[1].best_score(photo) == 0
    assert analysis(tmp_path, (np.zeros((5, 2)), 0.9))[1].faces(photo) == ()


def test_sface_is_given_the_upright_face_and_its_answers_are_copied():
    memory = np.zeros((1, 128), np.float32)

    class Recognizer:
        def feature(self, crop):
            memory[:] = crop[40, 40].mean()
            self.crop = crop
            return memory

    photo = np.random.default_rng(0).integers(0, 255, (160, 200, 3), dtype=np.uint8)
    recognizer = Recognizer()
    first, second = _sface(recognizer)(photo, [POINTS, POINTS + 9])
    assert not np.array_equal(first, second)
    assert np.array_equal(recognizer.crop, aligned_face(photo, POINTS + 9)[:, :, ::-1])
    assert _sface(recognizer)(photo, []).shape == (0, 128)


def test_auraface_reads_crops_as_arcface_does(tmp_path):
    onnx.save(small_recognizer(), tmp_path / "auraface_glintr100.onnx")
    file, embed = _arcface(tmp_path, tmp_path / YUNET, ["CPUExecutionProvider"])
    photo = np.random.default_rng(0).integers(0, 255, (160, 200, 3), dtype=np.uint8)
    (embedding,) = embed(photo, [POINTS])
    crop = (aligned_face(photo, POINTS).astype(np.float32) - 127.5) / 127.5
    assert file.name == "auraface_glintr100.onnx"
    assert embedding[0] == pytest.approx(crop[0, 0, 0])
    assert embedding.shape == (512,)
    assert embed(photo, []).shape == (0, 512)


def test_what_is_wrong_with_the_folder_is_said(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/auraface_glintr100.onnx").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no face detector"):
        load_face_analysis(tmp_path / "a")
    (tmp_path / "opencv").mkdir()
    (tmp_path / "opencv" / YUNET).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    for folder in ("a", "opencv"):
        with pytest.raises(ValueError, match=r"cannot be read by OpenCV .* Git LFS"):
            load_face_analysis(tmp_path / folder)


def test_a_recognizer_of_another_size_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="and no recognizer"):
        _arcface(tmp_path, tmp_path / YUNET, ["CPUExecutionProvider"])
    taken = helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 3, 64, 64])
    given = helper.make_tensor_value_info("same", TensorProto.FLOAT, [1, 3, 64, 64])
    graph = helper.make_graph([helper.make_node("Identity", ["crop"], ["same"])], "small", [taken], [given])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "auraface.onnx")
    with pytest.raises(ValueError, match="expected a recognizer of"):
        _arcface(tmp_path, tmp_path / YUNET, ["CPUExecutionProvider"])
    (tmp_path / "auraface.onnx").write_bytes(b"cut")
    with pytest.raises(ValueError, match="not a complete ONNX file"):
        _arcface(tmp_path, tmp_path / YUNET, ["CPUExecutionProvider"])


def test_names_and_licences(tmp_path):
    _, yunet = analysis(tmp_path)
    assert judge_of(yunet).name == "SFace (opencv_zoo)"
    assert parts_of(yunet) == {YUNET: "MIT (opencv_zoo)", SFACE: "Apache-2.0 (opencv_zoo)"}
    assert licence_of("glintr100.onnx").startswith("non-commercial")
    assert licence_of("mine.onnx").startswith("licence not known")
