"""Faces found by OpenCV's YuNet and recognized by SFace or by AuraFace.

The files are the user's: face_detection_yunet_*.onnx with face_recognition_sface_*.onnx or auraface_*.onnx. All three
are free for any use; their embeddings condition no released adapter.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..canvas import BoxPx
from ..identity import Face
from .alignment import SIDE_PX, aligned_face, are_spread

YUNET, SFACE, AURAFACE = "face_detection_yunet*.onnx", "face_recognition_sface*.onnx", "auraface*.onnx"
SHARED = "opencv"
# Both are OpenCV's defaults for YuNet.
NMS_THRESHOLD = 0.3
MOST_FACES = 5000
EMBEDDING_SIZE = 512  # of a recognizer that was asked about nobody
FAINTEST_SCORE = 0.05
JUDGES = {"face_recognition_sface": "SFace (opencv_zoo)", "auraface": "AuraFace"}
Embed = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


class OpenCvAnalysis:
    """YuNet and a recognizer behind one method.

    model_name  says whose embeddings these are
    files       of the detector and of the recognizer
    """

    def __init__(
        self, detector: Any, embed: Embed, files: tuple[Path, Path], det_size: int, det_threshold: float
    ) -> None:
        """`detector` is OpenCV's FaceDetectorYN; `embed` maps a photo and landmarks to embeddings [faces, d]."""
        self.files = files
        self.model_name = f"{files[1].parent.name}/{files[1].name}"
        self.judge_name = next((name for start, name in JUDGES.items() if files[1].name.startswith(start)), "")
        self._detector, self._embed = detector, embed
        self._det_size, self._det_threshold = det_size, det_threshold

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        """The faces of an RGB photo [H, W, 3] uint8 by descending detection score, each with its raw embedding."""
        rows = self._rows(photo, self._det_threshold)
        points = [row[4:14].reshape(5, 2) for row in rows]
        usable = [index for index, landmarks in enumerate(points) if are_spread(landmarks)]
        embeddings = self._embed(photo, [points[index] for index in usable])
        return tuple(
            Face(_edges(rows[index]), float(rows[index][14]), points[index].astype(np.float32), embedding)
            for index, embedding in zip(usable, embeddings, strict=True)
        )

    def best_score(self, photo: np.ndarray) -> float:
        """Score of the likeliest face in an RGB photo [H, W, 3] uint8, below the threshold too; 0 without any."""
        return max((float(row[14]) for row in self._rows(photo, FAINTEST_SCORE)), default=0.0)

    def _rows(self, photo: np.ndarray, threshold: float) -> list[np.ndarray]:
        """x, y, width, height, five points and score of every face, in pixels of the photo."""
        import cv2

        scale = self._det_size / max(photo.shape[:2])
        size = tuple(max(1, round(side * scale)) for side in photo.shape[1::-1])
        small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        self._detector.setInputSize(size)
        self._detector.setScoreThreshold(threshold)
        # OpenCV's models read BGR.
        _, found = self._detector.detect(np.ascontiguousarray(small[:, :, ::-1]))
        # OpenCV gives None instead of an array without rows.
        if found is None:
            return []
        # Seven pairs are in pixels (corner, size, five points), the last number is the score. Each axis has its own
        # factor, because the sides were rounded.
        to_photo = np.array([*np.tile(np.array(photo.shape[1::-1]) / size, 7), 1.0])
        return sorted(found.astype(np.float64) * to_photo, key=lambda row: -row[14])


def is_opencv_pack(folder: Path) -> bool:
    """Whether YuNet is in the folder, or AuraFace, which takes YuNet from the folder `opencv` beside its own."""
    return any(next(folder.glob(pattern), None) for pattern in (YUNET, AURAFACE))


def _detector_file(folder: Path) -> Path:
    found = sorted(folder.glob(YUNET)) or sorted((folder.parent / SHARED).glob(YUNET))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no face detector. Put face_detection_yunet_2023mar.onnx into it or into "
            f"{folder.parent / SHARED}: python -m withanyone_core.download --only judge"
        )
    return found[-1]


def load_opencv(folder: Path, det_size: int, det_threshold: float, providers: Sequence[str]) -> OpenCvAnalysis:
    """YuNet and the recognizer of a folder.

    Raises FileNotFoundError without a recognizer or its card, ValueError for a file that cannot be read, and
    RuntimeError where OpenCV is too old for both.
    """
    import cv2

    if not hasattr(cv2, "FaceDetectorYN"):
        raise RuntimeError(f"OpenCV {cv2.__version__} has no YuNet. Run `python -m pip install -U opencv-python`.")
    detector_file = _detector_file(folder)
    detector = _created(
        cv2.FaceDetectorYN, detector_file, (det_size, det_size), det_threshold, NMS_THRESHOLD, MOST_FACES
    )
    sface = sorted(folder.glob(SFACE))
    if sface:
        recognizer = _created(cv2.FaceRecognizerSF, sface[-1])
        return OpenCvAnalysis(detector, _sface(recognizer), (detector_file, sface[-1]), det_size, det_threshold)
    file, embed = _arcface(folder, detector_file, providers)
    return OpenCvAnalysis(detector, embed, (detector_file, file), det_size, det_threshold)


def _created(kind: Any, file: Path, *settings: Any) -> Any:
    import cv2

    try:
        return kind.create(str(file), "", *settings)
    except cv2.error as error:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) cannot be read by OpenCV {cv2.__version__}: {error.err}. "
            "Download it again; a file of a few hundred bytes is Git LFS's note of where the model is."
        ) from error


def _sface(recognizer: Any) -> Embed:
    def embed(photo: np.ndarray, landmarks_px: Sequence[np.ndarray]) -> np.ndarray:
        # SFace takes ArcFace's crop, in OpenCV's order of channels.
        crops = [np.ascontiguousarray(aligned_face(photo, points)[:, :, ::-1]) for points in landmarks_px]
        # OpenCV hands out the same memory for each face.
        found = [np.array(recognizer.feature(crop), np.float32).reshape(-1) for crop in crops]
        return np.stack(found) if found else np.zeros((0, 128), np.float32)

    return embed


def _arcface(folder: Path, detector_file: Path, providers: Sequence[str]) -> tuple[Path, Embed]:
    """A recognizer that takes crops as ArcFace does, pixel values from -1 to 1, RGB: AuraFace is one."""
    import onnxruntime

    # Compiled, without stubs.
    from onnxruntime.capi import onnxruntime_pybind11_state as failures  # pyright: ignore[reportAttributeAccessIssue]

    others = sorted(file for file in folder.glob("*.onnx") if not file.match(YUNET))
    if not others:
        raise FileNotFoundError(
            f"{folder} holds {detector_file.name} and no recognizer. Put face_recognition_sface_2021dec.onnx or "
            "auraface_glintr100.onnx beside it."
        )
    file = others[0]
    try:
        session = onnxruntime.InferenceSession(str(file), providers=list(providers))
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail) as error:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) is not a complete ONNX file. Download it again. "
            f"onnxruntime says: {error}"
        ) from error
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    if list(taken.shape[2:]) != [SIDE_PX, SIDE_PX]:
        raise ValueError(
            f"{file.name} takes {taken.shape}; expected a recognizer of [batch, 3, {SIDE_PX}, {SIDE_PX}], such as "
            "auraface_glintr100.onnx."
        )

    def embed(photo: np.ndarray, landmarks_px: Sequence[np.ndarray]) -> np.ndarray:
        crops = [(aligned_face(photo, points).astype(np.float32) - 127.5) / 127.5 for points in landmarks_px]
        found = [
            np.asarray(session.run([given.name], {taken.name: crop.transpose(2, 0, 1)[None]})[0]).reshape(-1)
            for crop in crops
        ]
        return np.stack(found) if found else np.zeros((0, EMBEDDING_SIZE), np.float32)

    return file, embed


def _edges(row: np.ndarray) -> BoxPx:
    x, y, width, height = row[:4].tolist()
    return x, y, x + width, y + height
