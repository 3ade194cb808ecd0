"""dlib's recognizer as a judge of faces that another detector has found: free for any use, installed by pip."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from ..faces.alignment import similarity
from ..faces.dlib_analysis import DLIB_JUDGE, RECOGNIZER_FILE, load_models, model_files
from ..faces.dlib_centre import CENTRE
from ..files.digest import file_sha256
from ..identity import Face
from .case import JudgeInfo

# The box of dlib's own detector in ArcFace's crop of 112 pixels: the median of fourteen faces of photographs.
BOX_MIDDLE_PX, BOX_SIDE_PX = np.array([56.9, 63.8]), 76.9


class DlibJudge:
    """What `judges.Judge` is, without a file of the user's: dlib's landmarks in the box where a face is known to be.

    width      of its embeddings
    file_name  of its recognizer
    """

    width, file_name = len(CENTRE), RECOGNIZER_FILE

    def __init__(self) -> None:
        """Raises RuntimeError, readable, where dlib or its models are not installed."""
        self.info = JudgeInfo(DLIB_JUDGE)
        self._landmarks, self._recognizer = load_models()
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Changes with the models and with how they are used."""
        if not self._fingerprint:
            contents = [file_sha256(file) for file in model_files()]
            values = repr((contents, BOX_MIDDLE_PX.tolist(), BOX_SIDE_PX))
            self._fingerprint = sha256(values.encode()).hexdigest()
        return self._fingerprint

    def embed(self, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Centred embeddings, float32 [faces, 128], of the faces of an RGB photo [H, W, 3] uint8."""
        photo = np.ascontiguousarray(photo)
        found = [self._embedding(photo, face.landmarks_px) for face in faces]
        return np.array(found, np.float32).reshape(len(faces), self.width)

    def _embedding(self, photo: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        shape = self._landmarks(photo, _box(landmarks_px))
        descriptor = self._recognizer.compute_face_descriptor(photo, shape)
        # Less what all faces have in common: with it strangers have a cosine of 0.84.
        return np.array(descriptor, np.float32) - np.array(CENTRE, np.float32)


def _box(landmarks_px: np.ndarray) -> Any:
    """dlib's rectangle for a face of which five landmarks [5, 2] in pixels are known."""
    import dlib

    to_crop = similarity(landmarks_px)
    turn, shift = to_crop[:, :2], to_crop[:, 2]
    # The inverse of the similarity for one point; its scale is the root of the determinant. The turn is dropped, since
    # dlib's boxes are upright.
    middle = np.linalg.solve(turn, BOX_MIDDLE_PX - shift)
    half = BOX_SIDE_PX / np.sqrt(np.linalg.det(turn)) / 2
    left, top = (int(edge) for edge in np.round(middle - half))
    right, bottom = (int(edge) for edge in np.round(middle + half))
    return dlib.rectangle(left, top, right, bottom)  # pyright: ignore[reportAttributeAccessIssue]  dlib is compiled
