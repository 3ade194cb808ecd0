"""The real models of prepare.py, from files of the user's."""

from pathlib import Path

from withanyone_core.digest import file_sha256
from withanyone_core.faces.analysis import CPU, PROVIDERS, InsightFaceAnalysis, load_face_analysis, onnx_folder
from withanyone_core.metrics.judges import Judge, load_judge

from ..cache.shards import key_of
from ..configuration.preparing import FaceSettings


def load_faces(settings: FaceSettings) -> tuple[InsightFaceAnalysis, str, dict[str, str]]:
    """Detector and recogniser, their fingerprint, and their files with SHA-256.

    Raises FileNotFoundError, ValueError or RuntimeError in words.
    """
    analysis = load_face_analysis(settings.pack, settings.provider, settings.det_size, settings.det_threshold)
    files = {path.name: file_sha256(path) for path in sorted(onnx_folder(settings.pack).glob("*.onnx"))}
    return analysis, key_of(sorted(files.items()), settings.det_size, settings.det_threshold), files


def load_second(path: Path, provider: str) -> Judge:
    """The recogniser that no loss uses. Raises ValueError for the one that training uses, or one a loss has seen."""
    judge = load_judge(path, providers=tuple(dict.fromkeys((PROVIDERS[provider][0], CPU))))
    if judge.info.trained_with:
        raise ValueError(
            f"{path.name} is the recogniser that training itself uses, so it cannot tell whether training helped. Name "
            "another one as faces.second, such as AdaFace or w600k_r50."
        )
    return judge
