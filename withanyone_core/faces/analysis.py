"""Finding and recognizing faces with insightface, from files the user has put in place; nothing is ever downloaded."""

import logging
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..files.first_bytes import no_onnx
from ..identity import Face
from .alignment import aligned_face, are_spread
from .dlib_analysis import DLIB, DlibAnalysis, load_dlib
from .installation import how_to_install
from .opencv_analysis import OpenCvAnalysis, is_opencv_pack, load_opencv

logger = logging.getLogger("withanyone")

# insightface's own, which the released program leaves as it is.
NMS_THRESHOLD = 0.4
# For messages only: how near the likeliest face came to the threshold.
FAINTEST_SCORE = 0.01
EMBEDDING_SIZE = 512
DETECTOR_FILE = "scrfd_10g_bnkps.onnx"
RECOGNIZER_FILE = "glintr100.onnx"
CPU = "CPUExecutionProvider"
# The name shown to the user, onnxruntime's name, and the distribution that brings it.
PROVIDERS = {
    "CPU": (CPU, "onnxruntime"),
    "CUDA": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "DirectML": ("DmlExecutionProvider", "onnxruntime-directml"),
    "CoreML": ("CoreMLExecutionProvider", "onnxruntime"),
    "ROCm": ("ROCMExecutionProvider", "onnxruntime-rocm"),
    "OpenVINO": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}


class InsightFaceAnalysis:
    """A detector and a recognizer of insightface's model zoo behind one method."""

    def __init__(
        self,
        detector: Any,
        recognizer: Any,
        det_size: int,
        det_threshold: float,
        model_name: str = "",
        files: tuple[Path, ...] = (),
    ) -> None:
        """`detector` is insightface's SCRFD with landmarks, `recognizer` its ArcFaceONNX.

        `model_name` says whose embeddings these are, `files` what they were loaded from.
        """
        self.model_name = model_name
        self.files = files
        self._detector = detector
        self._recognizer = recognizer
        self._det_threshold = det_threshold
        # Device number 0, since insightface switches the session to the CPU for a negative one.
        # The size is spelled out: left to itself, insightface >= 1.0 merges detections of two sizes, and boxes, order
        # and landmarks differ from those the adapter was made with.
        detector.prepare(0, input_size=(det_size, det_size), nms_thresh=NMS_THRESHOLD, det_thresh=det_threshold)

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        """The faces of an RGB photo [H, W, 3] uint8 by descending detection score, with raw ArcFace embeddings."""
        photo_bgr = _bgr(photo)
        boxes_px, landmarks_px = self._detector.detect(photo_bgr)
        return tuple(
            self._face(photo_bgr, box_px, points_px)
            for box_px, points_px in zip(boxes_px, landmarks_px, strict=True)
            if are_spread(points_px)
        )

    def best_score(self, photo: np.ndarray) -> float:
        """Score of the likeliest face in an RGB photo [H, W, 3] uint8, below the threshold too; 0 without any."""
        self._detector.prepare(0, det_thresh=FAINTEST_SCORE)
        try:
            boxes_px, _ = self._detector.detect(_bgr(photo))
        finally:
            self._detector.prepare(0, det_thresh=self._det_threshold)
        return float(boxes_px[:, 4].max(initial=0.0))

    def _face(self, photo_bgr: np.ndarray, box_px: np.ndarray, landmarks_px: np.ndarray) -> Face:
        # The aligned face stays BGR: get_feat swaps the channels and scales the pixels itself.
        embedding = self._recognizer.get_feat(aligned_face(photo_bgr, landmarks_px)).reshape(-1)
        if embedding.size != EMBEDDING_SIZE:
            raise ValueError(
                f"The recognizer {Path(self._recognizer.model_file).name} gives {embedding.size} numbers per face; "
                f"WithAnyone needs the {EMBEDDING_SIZE} of antelopev2's {RECOGNIZER_FILE}."
            )
        x1, y1, x2, y2 = (float(value) for value in box_px[:4])
        return Face(
            box_px=(x1, y1, x2, y2),
            score=float(box_px[4]),
            landmarks_px=np.asarray(landmarks_px, dtype=np.float32),
            embedding=np.asarray(embedding, dtype=np.float32),
        )


def load_face_analysis(
    pack_dir: Path, provider: str = "CPU", det_size: int = 640, det_threshold: float = 0.5
) -> InsightFaceAnalysis | OpenCvAnalysis | DlibAnalysis:
    """The detector and recognizer of an insightface pack folder, usually models/insightface/models/antelopev2.

    A folder with YuNet is read with OpenCV instead, and one that is called "dlib" and need not exist stands for the
    models of pip's face_recognition_models. Neither needs insightface, and neither conditions the released adapter.

    provider       a key of PROVIDERS
    det_size       side in pixels of the square the photo is fitted into for detection; a multiple of 32
    det_threshold  lowest detection score that counts as a face, 0 to 1

    Raises FileNotFoundError where the folder or one of the two files is missing, ValueError for a file that cannot be
    read, RuntimeError where insightface or the provider is not to be had; each says which file or package goes where.
    """
    # A folder of that name with models of its own is a pack like any other.
    if pack_dir.name == DLIB and next(pack_dir.glob("*.onnx"), None) is None:
        return load_dlib(det_threshold)
    folder = onnx_folder(pack_dir)
    if is_opencv_pack(folder):
        chosen = _provider(provider)
        return load_opencv(folder, det_size, det_threshold, [chosen] if chosen == CPU else [chosen, CPU])
    model_zoo = face_library()
    provider_name = _provider(provider)
    detector_file, recognizer_file = _model_files(folder)
    if recognizer_file.name != RECOGNIZER_FILE:
        logger.warning(
            "Faces are recognized by %s. The released WithAnyone adapter was trained with antelopev2's %s; "
            "embeddings of another recognizer make other people.",
            recognizer_file.name,
            RECOGNIZER_FILE,
        )
    # The CPU second, for operators that the provider lacks.
    providers = [provider_name] if provider_name == CPU else [provider_name, CPU]
    detector, recognizer = (_loaded(model_zoo, file, providers) for file in (detector_file, recognizer_file))
    # onnxruntime falls back without an error where a provider's libraries do not load.
    if provider_name not in recognizer.session.get_providers():
        raise RuntimeError(
            f"onnxruntime could not start {provider} and fell back to the CPU; usually its libraries are missing or "
            f"of another version. Choose CPU in Load Face Analysis, or repair {provider}.{_repair(provider)}"
        )
    model_name = f"{pack_dir.name}/{recognizer_file.name}"
    return InsightFaceAnalysis(
        detector, recognizer, det_size, det_threshold, model_name, (detector_file, recognizer_file)
    )


def onnx_folder(pack_dir: Path) -> Path:
    """The folder that really holds a pack's .onnx files: `pack_dir`, or the folder of the same name inside it.

    The archive of antelopev2 unpacks one folder too deep; such a folder is read as it lies and never moved.
    Raises FileNotFoundError where neither holds any.
    """
    for folder in (pack_dir, pack_dir / pack_dir.name):
        if next(folder.glob("*.onnx"), None) is not None:
            return folder
    state = "holds no .onnx file" if pack_dir.is_dir() else "does not exist"
    raise FileNotFoundError(f"The face pack folder {pack_dir} {state}. {_what_goes_where(pack_dir)}")


def _bgr(photo: np.ndarray) -> np.ndarray:
    """insightface reads images as OpenCV loads them. This is the only place where channels change order."""
    # OpenCV takes no array with a negative stride.
    return np.ascontiguousarray(photo[:, :, ::-1])


def _what_goes_where(folder: Path) -> str:
    return (
        f"Put {DETECTOR_FILE} (the detector) and {RECOGNIZER_FILE} (the recognizer) of insightface's antelopev2 into "
        f"{folder}."
    )


def face_library() -> ModuleType:
    """insightface's model zoo. Raises RuntimeError where it cannot be imported, with the command that helps."""
    try:
        from insightface import model_zoo
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"insightface cannot be used: the Python package {error.name} is not installed. {how_to_install()}"
        ) from error
    except ImportError as error:  # insightface says itself what is wrong with onnxruntime
        raise RuntimeError(f"insightface cannot be used: {how_to_install() or error}{_repair('CUDA')}") from error
    return model_zoo


def _provider(provider: str) -> str:
    """onnxruntime's name of a provider that is really there."""
    import onnxruntime

    if provider not in PROVIDERS:
        raise ValueError(f"The provider is {provider!r}; expected one of {', '.join(PROVIDERS)}.")
    name, distribution = PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if name in available:
        return name
    offered = ", ".join(shown for shown, (known, _) in PROVIDERS.items() if known in available)
    raise RuntimeError(
        f"{provider} was chosen for face analysis, but the installed onnxruntime offers only {offered}. Choose one of "
        f"these in Load Face Analysis, or install {distribution}.{_repair(provider)}"
    )


def _repair(provider: str) -> str:
    """The one line that helps where two builds of onnxruntime overwrite each other, or nothing where only one lies."""
    distribution = PROVIDERS[provider][1]
    if distribution == "onnxruntime" or not _is_installed(distribution) or not _is_installed("onnxruntime"):
        return ""
    return (
        f" Both onnxruntime and {distribution} are installed and overwrite each other; repair: "
        f"`python -m pip uninstall -y onnxruntime {distribution} && python -m pip install {distribution}`."
    )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _model_files(folder: Path) -> tuple[Path, Path]:
    """The files of the detector and of the recognizer, distinguished by their graphs as insightface does.

    The usual names are tried first: the rest of antelopev2 is large and not needed.
    """
    found: dict[str, Path] = {}
    usual = (DETECTOR_FILE, RECOGNIZER_FILE)
    for file in sorted(folder.glob("*.onnx"), key=lambda file: (file.name not in usual, file.name)):
        found.setdefault(graph_task(file), file)
        if {"detector", "recognizer"} <= found.keys():
            return found["detector"], found["recognizer"]
    missing = " and no ".join(task for task in ("detector", "recognizer") if task not in found)
    raise FileNotFoundError(f"{folder} holds no {missing}. {_what_goes_where(folder)}")


def graph_task(file: Path) -> str:
    """ "detector" for a graph with landmarks, "recognizer" for one embedding from a 112-pixel crop, else "other".

    Raises ValueError for a file that is not a complete ONNX graph.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if reason := no_onnx(file):
        raise ValueError(f"{file} {reason}")
    try:
        # The graph alone tells the task; weights in a file beside it need not be read.
        graph = onnx.load(file, load_external_data=False).graph
    except DecodeError as error:
        raise ValueError(_unreadable(file)) from error
    sizes = [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim] if graph.input else []
    # SCRFD with landmarks: scores, boxes and landmarks at three or five strides.
    if len(graph.output) in (9, 15):
        return "detector"
    return "recognizer" if len(graph.output) == 1 and sizes[2:] == [112, 112] else "other"


def _loaded(model_zoo: ModuleType, file: Path, providers: list[str]) -> Any:
    # Compiled, without stubs.
    from onnxruntime.capi import onnxruntime_pybind11_state as failures  # pyright: ignore[reportAttributeAccessIssue]

    try:
        return model_zoo.get_model(str(file), providers=providers)
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail) as error:
        raise ValueError(f"{_unreadable(file)} onnxruntime says: {error}") from error


def _unreadable(file: Path) -> str:
    return f"{file} ({file.stat().st_size} bytes) is not a complete ONNX file. Download it again."
