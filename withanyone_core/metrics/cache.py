"""Faces and embeddings kept on disk by what the image shows, so that each image is detected and embedded once."""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from weakref import ref

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..faces.face_analysis import FaceAnalysis
from ..identity import Face
from .case import JudgeInfo

LOGGER = logging.getLogger("withanyone")

WAIT_S = 30.0  # for another process that writes
TABLE = "create table if not exists kept (image text, maker text, arrays blob, primary key (image, maker))"


class Embedder(Protocol):
    """What `judges.Judge` is to whoever uses it."""

    info: JudgeInfo

    @property
    def fingerprint(self) -> str: ...

    def embed(self, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray: ...


def photo_key(photo: np.ndarray) -> str:
    """SHA-256 of a photo's size and levels, whatever file they came from."""
    return sha256(repr(photo.shape).encode() + np.ascontiguousarray(photo).tobytes()).hexdigest()


class ArrayStore:
    """Named arrays by image and maker in one SQLite file; every write is whole or not there at all.

    Several processes may use one file at once.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises ValueError where it is something else."""
        self._path = path
        # A weak reference keeps no photo alive, and an id alone might be another photo's by the next call.
        self._last: tuple[ref[np.ndarray], str] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._asking() as connection:
            connection.execute(TABLE)

    def key_of(self, photo: np.ndarray) -> str:
        """`photo_key`, remembered for the last photo: its detector and every judge ask for it in turn."""
        if self._last is None or self._last[0]() is not photo:
            self._last = ref(photo), photo_key(photo)
        return self._last[1]

    def get(self, image: str, maker: str) -> dict[str, np.ndarray] | None:
        """What the maker made of the image, None where nothing is kept or what is kept cannot be read."""
        with self._asking() as connection:
            row = connection.execute("select arrays from kept where image = ? and maker = ?", (image, maker)).fetchone()
        try:
            return None if row is None else load(row[0])
        except SafetensorError:
            LOGGER.warning("An image's entry in %s is damaged; the image is measured again.", self._path)
            return None

    def put(self, image: str, maker: str, arrays: dict[str, np.ndarray]) -> None:
        kept = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        with self._asking() as connection:
            connection.execute("insert or replace into kept values (?, ?, ?)", (image, maker, kept))

    def _asking(self) -> "_Transaction":
        return _Transaction(self._path)


class _Transaction:
    """A connection that commits or takes back, and is closed: Windows keeps a file that is open from being deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(self._path, timeout=WAIT_S)
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with closing(self._connection):
            if kind is None:
                self._connection.commit()
        if isinstance(error, sqlite3.DatabaseError):
            raise ValueError(
                f"The cache {self._path} cannot be used ({error}). Delete it; it is made again from the images."
            ) from error


class CachedAnalysis:
    """A face analysis that looks at each image once."""

    def __init__(self, analysis: FaceAnalysis, fingerprint: str, store: ArrayStore) -> None:
        """`fingerprint` names the detector, the recognizer and their settings; it is all that tells them apart."""
        self.fingerprint = fingerprint
        self._analysis = analysis
        self._store = store

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        image, maker = self._store.key_of(photo), f"faces {self.fingerprint}"
        kept = self._store.get(image, maker)
        if kept is None:
            faces = self._analysis.faces(photo)
            self._store.put(image, maker, _arrays(faces))
            return faces
        rows = zip(kept["boxes_px"], kept["scores"], kept["landmarks_px"], kept["embeddings"], strict=True)
        return tuple(
            Face(tuple(box.tolist()), float(score), points, embedding) for box, score, points, embedding in rows
        )


class CachedJudge:
    """A judge that embeds each face once: the same image, landmarks and judge give the embeddings that are kept."""

    def __init__(self, judge: Embedder, store: ArrayStore) -> None:
        self.info = judge.info
        self.fingerprint = judge.fingerprint
        self._judge = judge
        self._store = store

    def embed(self, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        # Another detector's landmarks on the same photo give other crops, hence other embeddings.
        landmarks = sha256(b"".join(face.landmarks_px.astype("<f4").tobytes() for face in faces)).hexdigest()
        image, maker = self._store.key_of(photo), f"embeddings {self.fingerprint} {landmarks}"
        kept = self._store.get(image, maker)
        if kept is not None:
            return kept["embeddings"]
        embeddings = self._judge.embed(photo, faces)
        self._store.put(image, maker, {"embeddings": embeddings})
        return embeddings


def _arrays(faces: Sequence[Face]) -> dict[str, np.ndarray]:
    """Boxes and scores in float64, as detectors of other makes give them, so that what comes back is what went in."""
    return {
        "boxes_px": np.array([face.box_px for face in faces], np.float64).reshape(-1, 4),
        "scores": np.array([face.score for face in faces], np.float64),
        "landmarks_px": np.array([face.landmarks_px for face in faces], np.float32).reshape(-1, 5, 2),
        # Without faces NumPy cannot infer a -1.
        "embeddings": np.array([face.embedding for face in faces], np.float32).reshape(len(faces), -1 if faces else 0),
    }
