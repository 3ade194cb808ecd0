"""Who tells the faces apart: the models a user has, what they are known to say, and their licences."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..faces.analysis import load_face_analysis
from ..faces.dlib_analysis import DLIB, DLIB_JUDGE, is_dlib_installed
from ..faces.face_analysis import FaceAnalysis
from ..faces.licences import parts_of
from ..files.digest import file_sha256
from ..metrics.judges import judge_of
from .calibration import Levels
from .values import Recognizer

DET_SIZE, DET_THRESHOLD = 640, 0.5
# What two photos of one person, and of two people, come to on real photos; the people's own photos soon outweigh it.
# dlib: seven photos of one person and nine people, tried here. ArcFace: as in `faces.selection.LEAST_LIKENESS`.
KNOWN_LEVELS = {DLIB_JUDGE: Levels(same=0.78, same_sd=0.1, other=0.0, other_sd=0.18)}
NO_RECOGNIZER = (
    "No recognizer was given. Install the extra `judge` (`python -m pip install dlib-bin face_recognition_models`; "
    "free for any use), or give --recognizer DIR: a folder with YuNet and SFace, with YuNet and AuraFace, or a pack of "
    "insightface such as antelopev2."
)


@dataclass(frozen=True, eq=False)
class LoadedRecognizer:
    """A recognizer ready for use; `fingerprint` changes with its files and settings."""

    about: Recognizer
    analysis: FaceAnalysis
    levels: Levels
    fingerprint: str


def load_recognizer(
    name: str | None, provider: str = "CPU", det_size: int = DET_SIZE, det_threshold: float = DET_THRESHOLD
) -> LoadedRecognizer:
    """The recognizer "dlib", that of a folder of model files, or the best that needs no files.

    Raises ValueError, RuntimeError or FileNotFoundError, readable, where there is none or it cannot be loaded.
    """
    if name is None and not is_dlib_installed():
        raise ValueError(NO_RECOGNIZER)
    folder = Path(DLIB if name is None else name)
    analysis = load_face_analysis(folder, provider, det_size, det_threshold)
    files = analysis.files
    contents = [f"{file.name} {file_sha256(file)}" for file in files]
    settings = {"det_size": det_size, "det_threshold": det_threshold}
    judge = judge_of(analysis)
    return LoadedRecognizer(
        Recognizer(judge.name, parts_of(analysis), settings, judge.trained_with),
        analysis,
        KNOWN_LEVELS.get(judge.name, Levels()),
        sha256(repr((contents, settings)).encode()).hexdigest(),
    )
