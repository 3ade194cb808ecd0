"""Face detection, the first pass over the photos: what each shows, kept by content so that none is detected twice."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from withanyone_core.faces.alignment import aligned_face, are_spread
from withanyone_core.faces.crop import crop_rectangle
from withanyone_core.identity import Face

from ..cache.shards import ShardWriter, key_of
from .models import FaceAnalysis, PreparationModels, SecondRecognizer
from .photos import UnreadablePhoto, decode_photo, difference_hash, pad_photo
from .quality import sharpness
from .sources import Source

THUMB_PX = 96
SUBMITTED = 4  # photos in work for each worker, so that none waits and few are in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class DetectedPhoto:
    """What a photo shows.

    digest                SHA-256 of the file's bytes
    width_px, height_px   upright
    hash                  64 bits, see `photos.difference_hash`
    faces                 by descending detection score
    sharp                 sharpness of each face, see `quality.sharpness`
    second                float32 [faces, width] of the second recognizer, or None
    thumbs                name of the kept uint8 [faces, 96, 96, 3]; of a photo without faces itself [1, 96, 96, 3]
    unreadable            why it could not be read; then everything else is empty
    """

    digest: str
    width_px: int = 0
    height_px: int = 0
    hash: int = 0
    faces: tuple[Face, ...] = ()
    sharp: tuple[float, ...] = ()
    second: np.ndarray | None = None
    thumbs: str = ""
    unreadable: str = ""

    @property
    def embeddings(self) -> np.ndarray:
        """Raw recognizer embeddings, float32 [faces, 512]."""
        return np.stack([face.embedding for face in self.faces]) if self.faces else np.zeros((0, 512), np.float32)


def detect_all(
    sources: Sequence[Source], models: PreparationModels, kept: Mapping[str, Tensor], writer: ShardWriter, workers: int
) -> Iterator[DetectedPhoto]:
    """One result a source, in their order; what was detected before is taken from `kept`."""

    def detect_one(source: Source) -> tuple[DetectedPhoto, dict[str, Tensor]]:
        return detect(source, models, kept)

    for seen, tensors in mapped(detect_one, sources, workers):
        writer.put(tensors)
        yield seen


def detect(
    source: Source, models: PreparationModels, kept: Mapping[str, Tensor]
) -> tuple[DetectedPhoto, dict[str, Tensor]]:
    """What a photo shows, and the tensors that were not kept yet."""
    try:
        content = source.location.read()
    except OSError as error:
        return DetectedPhoto("", unreadable=f"it cannot be opened ({error.strerror})"), {}
    digest = sha256(content).hexdigest()
    first = key_of("detection", models.fingerprints["faces"], digest)
    second = key_of("second", models.fingerprints.get("second"), first)
    knows_faces = f"{first}.photo" in kept
    knows_second = models.second is None or f"{second}.vectors" in kept
    if knows_faces and knows_second:
        return _from_cache(digest, kept, first, second if models.second else None), {}
    try:
        photo = decode_photo(content)
    except UnreadablePhoto as error:
        return DetectedPhoto(digest, unreadable=str(error)), {}
    tensors = {} if knows_faces else _tensors(photo, find_faces(photo, models.faces), first)
    everything = {name: kept[name] for name in _names(first)} if knows_faces else tensors
    if models.second is not None and not knows_second:
        faces = _faces(everything, first)
        tensors[f"{second}.vectors"] = torch.from_numpy(_second_embeddings(photo, faces, models.second))
    return _from_cache(digest, {**everything, **tensors}, first, second if models.second else None), tensors


def find_faces(photo: np.ndarray, analysis: FaceAnalysis) -> tuple[Face, ...]:
    """The usable faces of a photo; a second try with a black border where there are none."""
    faces = _usable(analysis.faces(photo), photo)
    if faces:
        return faces
    larger, (x, y) = pad_photo(photo)
    shift = np.array([x, y], np.float32)
    moved = [
        Face(
            (face.box_px[0] - x, face.box_px[1] - y, face.box_px[2] - x, face.box_px[3] - y),
            face.score,
            (face.landmarks_px - shift).astype(np.float32),
            face.embedding,
        )
        for face in analysis.faces(larger)
    ]
    return _usable(moved, photo)


def mapped(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` by threads, in order, with a few items in work at a time however many there are.

    Decoding, resizing and the models' own code run outside Python's lock.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        waiting: list[Future[Result]] = [pool.submit(function, item) for item in islice(remaining, SUBMITTED * workers)]
        try:
            while waiting:
                result = waiting.pop(0).result()
                waiting += [pool.submit(function, item) for item in islice(remaining, 1)]
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _usable(faces: Iterable[Face], photo: np.ndarray) -> tuple[Face, ...]:
    height_px, width_px = photo.shape[:2]
    return tuple(
        face
        for face in faces
        if crop_rectangle(face.box_px, width_px, height_px) is not None
        and are_spread(face.landmarks_px)
        and np.isfinite(face.embedding).all()
        and face.embedding.any()
    )


def _second_embeddings(photo: np.ndarray, faces: Sequence[Face], recognizer: SecondRecognizer) -> np.ndarray:
    if not faces:
        return np.zeros((0, 0), np.float32)
    return np.ascontiguousarray(recognizer.embed(photo, faces), dtype=np.float32)


def _tensors(photo: np.ndarray, faces: Sequence[Face], key: str) -> dict[str, Tensor]:
    aligned = [aligned_face(photo, face.landmarks_px) for face in faces]
    height_px, width_px = photo.shape[:2]
    value = difference_hash(photo)
    arrays = {
        # The hash in halves: its 64 bits do not fit a signed integer.
        "photo": np.array([width_px, height_px, value >> 32, value & 0xFFFFFFFF], np.int64),
        "boxes": np.array([face.box_px for face in faces], np.float64).reshape(-1, 4),
        "scores": np.array([face.score for face in faces], np.float64),
        "landmarks": np.array([face.landmarks_px for face in faces], np.float32).reshape(-1, 5, 2),
        "embeddings": np.array([face.embedding for face in faces], np.float32).reshape(len(faces), -1 if faces else 0),
        "sharp": np.array([sharpness(face) for face in aligned], np.float64),
        "thumbs": np.stack([_thumb(face) for face in aligned or [photo]]),
    }
    return {f"{key}.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _names(key: str) -> list[str]:
    return [f"{key}.{name}" for name in ("photo", "boxes", "scores", "landmarks", "embeddings", "sharp", "thumbs")]


def _faces(tensors: Mapping[str, Tensor], key: str) -> tuple[Face, ...]:
    names = ("boxes", "scores", "landmarks", "embeddings")
    rows = zip(*(tensors[f"{key}.{name}"].numpy() for name in names), strict=True)
    return tuple(Face(tuple(box.tolist()), float(score), points, embedding) for box, score, points, embedding in rows)


def _from_cache(digest: str, tensors: Mapping[str, Tensor], first: str, second: str | None) -> DetectedPhoto:
    width_px, height_px, high, low = tensors[f"{first}.photo"].tolist()
    return DetectedPhoto(
        digest,
        width_px,
        height_px,
        high << 32 | low,
        _faces(tensors, first),
        tuple(tensors[f"{first}.sharp"].tolist()),
        None if second is None else tensors[f"{second}.vectors"].numpy(),
        f"{first}.thumbs",
    )


def _thumb(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
