"""A face detector and recognizer from packages, in the place of antelopev2 (which may not be passed on).

MTCNN finds faces, MobileFaceNet recognizes them: real models on real photographs, only weaker than antelopev2.
"""

import os
import sys
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np
from comfy_api.latest import io

SCORE = 0.9  # MTCNN's false hits on insightface's group photo stay below 0.88
NORM = 20.0  # the adapter takes ArcFace embeddings as they come, and antelopev2's are about this long
ARCFACE_WIDTH = 512
CROP_PX = 112

# Where the eyes, the nose and the corners of the mouth lie in the 112 x 112 crop that ArcFace was trained on.
TEMPLATE_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def module_of_pack(name: str) -> ModuleType:
    """A module of the pack under test, which ComfyUI has loaded under a name made from its path."""
    return next(module for key, module in sys.modules.items() if key.endswith("." + name))


@cache
def detector() -> "MTCNN":  # noqa: F821
    from facenet_pytorch import MTCNN
    from facenet_pytorch.models.utils import detect_face

    # torchvision's own needs a C++ operator that it lacks beside a CPU torch
    detect_face.batched_nms = partial(detect_face.batched_nms_numpy, method="Union")
    return MTCNN(keep_all=True, select_largest=False, device="cpu")


@cache
def recognizer() -> "Interpreter":  # noqa: F821
    from ai_edge_litert.interpreter import Interpreter

    path = Path(os.environ["WITHANYONE_TESTBED"]) / "faces" / "MobileFaceNet.tflite"
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def similarity(landmarks_px: np.ndarray) -> np.ndarray:
    """The [2, 3] rotation, scale and shift that takes five landmarks nearest (least squares) to the template."""
    source, target = landmarks_px - landmarks_px.mean(0), TEMPLATE_PX - TEMPLATE_PX.mean(0)
    # As complex numbers a similarity is one multiplication, and least squares a quotient of two sums.
    source, target = source @ [1, 1j], target @ [1, 1j]
    turn = np.vdot(source, target) / np.vdot(source, source)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, TEMPLATE_PX.mean(0) - linear @ landmarks_px.mean(0)])


def embedding(photo: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """MobileFaceNet's 192 numbers, padded with zeros to ArcFace's 512: cosines stay what they were."""
    import cv2

    crop = cv2.warpAffine(photo, similarity(landmarks_px), (CROP_PX, CROP_PX))
    network = recognizer()
    pair = np.stack([(crop.astype(np.float32) - 127.5) / 128.0] * 2)  # the file only takes two crops at a time
    network.set_tensor(network.get_input_details()[0]["index"], pair)
    network.invoke()
    output = network.get_tensor(network.get_output_details()[0]["index"])[0]
    return np.pad(NORM * output / np.linalg.norm(output), (0, ARCFACE_WIDTH - output.size)).astype(np.float32)


def detections(photo: np.ndarray) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Box, score and landmarks of everything that may be a face, best score first."""
    boxes, scores, landmarks = detector().detect(photo, landmarks=True)
    if boxes is None:
        return []
    found = zip(boxes, map(float, scores), landmarks.astype(np.float32), strict=True)
    return sorted(found, key=lambda one: -one[1])


class StandinFaces:
    """Answers as the pack's own face analysis does."""

    def faces(self, photo: np.ndarray) -> tuple:
        """The faces of a uint8 RGB [H, W, 3] photo, best score first."""
        face = module_of_pack("withanyone_core.identity").Face
        return tuple(
            face(tuple(map(float, box)), score, points, embedding(photo, points))
            for box, score, points in detections(photo)
            if score >= SCORE
        )

    def best_score(self, photo: np.ndarray) -> float:
        """Score of the likeliest face, however faint; 0 where there is none."""
        return max((score for _, score, _ in detections(photo)), default=0.0)


class StandinFaceAnalysis(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StandinFaceAnalysis",
            display_name="Stand-in: MTCNN and MobileFaceNet",
            category="standins",
            inputs=[],
            outputs=[io.Custom("WITHANYONE_FACE_ANALYSIS").Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(StandinFaces())
