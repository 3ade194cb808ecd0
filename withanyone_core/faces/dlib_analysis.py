"""Detecting and recognizing faces with dlib: two packages of pip, free for any use, and no file to fetch.

Its embeddings condition no adapter; they judge, and find places.
"""

from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..identity import Face
from .alignment import TEMPLATE_PX, are_spread, similarity
from .dlib_centre import CENTRE

DLIB, DLIB_JUDGE = "dlib", "dlib ResNet"
LANDMARKS_FILE = "shape_predictor_5_face_landmarks.dat"
RECOGNIZER_FILE = "dlib_face_recognition_resnet_model_v1.dat"
INSTALL = "python -m pip install dlib-bin face_recognition_models"
UPSAMPLED_BELOW_PX = 1600  # of the longer side: enlarged once, the detector finds faces of 40 pixels instead of 80
LONGEST_PX = 2400  # larger photos are reduced: detection takes time with the area, and such faces are large enough
SURE_SCORE = 1.0  # of the detector's score, which has no upper end: half way to certain


class DlibAnalysis:
    """dlib's frontal detector, five landmarks and its recognizer behind one method.

    model_name  says whose embeddings these are
    files       the models, beside the detector that is part of the program
    """

    built_in = MappingProxyType({"dlib's frontal face detector": "BSL-1.0 (dlib)"})

    def __init__(self, detector: Any, landmarks: Any, recognizer: Any, det_threshold: float) -> None:
        self.model_name = f"{DLIB}/{RECOGNIZER_FILE}"
        self.judge_name = DLIB_JUDGE
        self.files = model_files()
        self._detector, self._landmarks, self._recognizer = detector, landmarks, recognizer
        self._threshold = det_threshold

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        """The faces of an RGB photo [H, W, 3] uint8 by descending score, with centred embeddings float32 [128]."""
        small, scale = _reduced(np.ascontiguousarray(photo))
        enlarged = int(max(small.shape[:2]) < UPSAMPLED_BELOW_PX)
        # dlib's score has no bounds, the node's threshold is a likelihood.
        boxes, scores, _ = self._detector.run(small, enlarged, _raw(self._threshold))
        found = [self._face(small, box, _likelihood(score), scale) for box, score in zip(boxes, scores, strict=True)]
        return tuple(sorted((face for face in found if are_spread(face.landmarks_px)), key=lambda face: -face.score))

    def best_score(self, photo: np.ndarray) -> float:
        """Score of the likeliest face in an RGB photo [H, W, 3] uint8, below the threshold too; 0 without any."""
        _, scores, _ = self._detector.run(_reduced(np.ascontiguousarray(photo))[0], 0, _raw(0.05))
        return max(map(_likelihood, scores), default=0.0)

    def _face(self, photo: np.ndarray, box: Any, score: float, scale: float) -> Face:
        shape = self._landmarks(photo, box)
        embedding = np.array(self._recognizer.compute_face_descriptor(photo, shape), np.float32)
        # dlib's right and bottom are the last pixels inside, not the edges behind them.
        left, top, right, bottom = box.left(), box.top(), box.right() + 1, box.bottom() + 1
        points = np.array([(point.x, point.y) for point in shape.parts()], np.float64)
        return Face(
            box_px=(float(left) / scale, float(top) / scale, float(right) / scale, float(bottom) / scale),
            score=score,
            landmarks_px=_five_points(points / scale),
            embedding=embedding - np.array(CENTRE, np.float32),
        )


def load_dlib(det_threshold: float) -> DlibAnalysis:
    """The models that pip's face_recognition_models holds. Raises RuntimeError where a package is absent."""
    landmarks, recognizer = load_models()
    import dlib

    library: Any = dlib  # compiled, without stubs
    return DlibAnalysis(library.get_frontal_face_detector(), landmarks, recognizer, det_threshold)


def load_models() -> tuple[Any, Any]:
    """dlib's landmarks and its recognizer. Raises RuntimeError where a package is absent."""
    try:
        import dlib
    except ImportError as error:
        raise RuntimeError(
            f"dlib cannot be used: {error}. Run `{INSTALL}` with the Python that runs ComfyUI."
        ) from error
    if find_spec("cv2") is None:
        raise RuntimeError("dlib's judge needs OpenCV too. Run `python -m pip install opencv-python-headless`.")
    landmarks, recognizer = model_files()
    library: Any = dlib  # compiled, without stubs
    return library.shape_predictor(str(landmarks)), library.face_recognition_model_v1(str(recognizer))


def is_dlib_installed() -> bool:
    return all(find_spec(name) is not None for name in ("dlib", "face_recognition_models"))


def model_files() -> tuple[Path, Path]:
    """Landmarks and recognizer, without importing their package, which needs setuptools.

    Raises RuntimeError where it is not installed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"The models of dlib's judge are not installed. Run `{INSTALL}`.")
    folder = Path(spec.origin).parent / "models"
    return folder / LANDMARKS_FILE, folder / RECOGNIZER_FILE


def _reduced(photo: np.ndarray) -> tuple[np.ndarray, float]:
    import cv2

    scale = min(1.0, LONGEST_PX / max(photo.shape[:2]))
    if scale == 1.0:
        return photo, 1.0
    height, width = photo.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA), scale


def _likelihood(score: float) -> float:
    """0 to 1, 0.5 at the detector's own threshold of 0."""
    return float(1 / (1 + np.exp(-score / SURE_SCORE)))


def _raw(likelihood: float) -> float:
    return float(SURE_SCORE * np.log(likelihood / (1 - likelihood)))


def _five_points(points: np.ndarray) -> np.ndarray:
    """The pack's five landmarks, float32 [5, 2], from dlib's: outer and inner corner of both eyes and below the nose.

    dlib has no corners of the mouth; they are put where a face with these eyes and this nose has them.
    """
    # dlib counts the corners of the eye on the right of the image first (0, 1), then the other's (2, 3); 4 is the nose.
    left, right, nose = (points[2] + points[3]) / 2, (points[0] + points[1]) / 2, points[4]
    # Eyes and nose fix the similarity; the template's mouth is carried back by its inverse.
    to_template = similarity(np.array([left, right, nose]), TEMPLATE_PX[:3])
    turn, shift = to_template[:, :2], to_template[:, 2]
    mouth = np.linalg.solve(turn, (TEMPLATE_PX[3:] - shift).T).T
    return np.array([left, right, nose, *mouth], np.float32)
