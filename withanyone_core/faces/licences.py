"""Under which licence face models are published, by the names of their files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INSIGHTFACE = "non-commercial research only (insightface's model packs)"
UNKNOWN = "licence not known here: ask whoever published the file"
_PUBLISHED = (
    (r"mmod_human_face_detector\.dat|shape_predictor_5_face_landmarks\.dat", "CC0-1.0 (dlib-models)"),
    (r"dlib_face_recognition_resnet_model_v1\.dat", "CC0-1.0 (dlib-models)"),
    (r"face_detection_yunet.*\.onnx", "MIT (opencv_zoo)"),
    (r"face_recognition_sface.*\.onnx", "Apache-2.0 (opencv_zoo)"),
    (r"auraface.*\.onnx", "Apache-2.0 (fal/AuraFace-v1)"),
    (r"(scrfd_|det_|glintr|w600k_|raccoon_|cheetah_).*\.onnx", INSIGHTFACE),
)


def licence_of(file: str) -> str:
    """The licence of a published model by its file's name; UNKNOWN for any other."""
    return next((licence for pattern, licence in _PUBLISHED if re.fullmatch(pattern, file)), UNKNOWN)


def parts_of(analysis: Any) -> Mapping[str, str]:
    """Every model file of a face analysis with its licence; what is part of a program says so itself.

    An analysis may have `files`, the paths of its models, and `built_in`, names and licences of parts without a file.
    """
    files: tuple[Path, ...] = getattr(analysis, "files", ())
    return {**getattr(analysis, "built_in", {}), **{file.name: licence_of(file.name) for file in files}}
