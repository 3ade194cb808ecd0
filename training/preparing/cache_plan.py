"""Cache plan: from named photos to the entries of a cache: chosen faces, held-out photos, crops, captions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from ..cache.entries import UNKNOWN, CropEntry, CropFace, FaceRecord, ImageEntry
from ..configuration.preparing import PrepareSettings
from .captions import head_count, plain_caption
from .crops import Crop, bucket_sizes, crops
from .detection import DetectedPhoto
from .encoding import ImageJob, latent_key, siglip_key, text_key
from .jitter import Jitter, jitters
from .models import PreparationModels
from .naming import NamedPhoto
from .quality import flags, is_small
from .reasons import Reason

HELD_OUT_ONE_IN = 3  # one photo in three at most, so that a person keeps enough to be learnt from


@dataclass(frozen=True, eq=False)
class CachePlan:
    """What the cache will hold.

    numbers   for each face its photo's number in `photos` and its own in there
    rejected  photos that fit no bucket, with why
    """

    identities: tuple[str, ...]
    photos: tuple[NamedPhoto, ...]
    images: tuple[ImageEntry, ...]
    faces: tuple[FaceRecord, ...]
    numbers: tuple[tuple[int, int], ...]
    jobs: tuple[ImageJob, ...]
    rejected: tuple[tuple[NamedPhoto, Reason], ...]
    without_caption: int

    def embeddings(self, second: bool = False) -> np.ndarray:
        """float32 [faces, width] of the recognizer, or of the second one."""
        detections = [self.photos[photo].detected for photo, _ in self.numbers]
        rows = zip(detections, self.numbers, strict=True)
        if second:
            return np.stack([detected.second[face] for detected, (_, face) in rows if detected.second is not None])
        return np.stack([detected.faces[face].embedding for detected, (_, face) in rows])


def plan_cache(
    photos: Sequence[NamedPhoto], identities: Sequence[str], settings: PrepareSettings, models: PreparationModels
) -> CachePlan:
    """The entries of all photos that fit a bucket, and the work they need."""
    buckets = bucket_sizes(settings.sizes, settings.ratios)
    cut = [_cut(photo, buckets, settings) for photo in photos]
    fitting = [(photo, faces, found) for photo, (faces, found) in zip(photos, cut, strict=True) if found]
    held = held_out([photo for photo, _, _ in fitting], identities, settings.held_out, settings.seed)
    lengths = [float(np.linalg.norm(face.embedding)) for photo, _, _ in fitting for face in photo.detected.faces]
    median = float(np.median(lengths)) if lengths else 0.0
    images, records, numbers, jobs = [], [], [], []
    for index, (photo, faces, found) in enumerate(fitting):
        first = len(records)
        records += [_record(photo, face, index, identities, settings, models, median) for face in faces]
        numbers += [(index, face) for face in faces]
        entries = tuple(_crop_entry(photo.detected, crop, faces, first, models) for crop in found)
        caption = plain_caption(len(faces)) if photo.source.caption is None else photo.source.caption
        images.append(
            ImageEntry(
                index,
                photo.source.name,
                str(photo.source.location.path),
                photo.detected.digest,
                caption,
                entries,
                index in held,
                text_key(models.fingerprints["text"], caption),
            )
        )
        boxes = tuple(photo.detected.faces[face].box_px for face in faces)
        jittered = tuple(jitter for face in faces for jitter in _jitters(photo.detected, face, settings, models))
        jobs.append(ImageJob(photo.source, photo.detected.digest, found, boxes, jittered))
    left = [(photo, _why_not(photo, settings)) for photo, (_, found) in zip(photos, cut, strict=True) if not found]
    return CachePlan(
        tuple(identities),
        tuple(photo for photo, _, _ in fitting),
        tuple(images),
        tuple(records),
        tuple(numbers),
        tuple(jobs),
        tuple(left),
        sum(photo.source.caption is None for photo, _, _ in fitting),
    )


def dummy_texts(max_faces: int) -> tuple[str, ...]:
    """The texts that stand for 0 to so many people."""
    return tuple(head_count(people) for people in range(max_faces + 1))


def held_out(photos: Sequence[NamedPhoto], identities: Sequence[str], count: int, seed: int) -> set[int]:
    """Numbers of the photos kept for validation.

    `count` of each person's, a third at most; photos of one person alone first, the rest by a hash of seed and content,
    so that another photo in the folder does not change which these are.
    """
    chosen: set[int] = set()
    counts = Counter(name for photo in photos for name in photo.names.values())
    for person in identities:
        theirs = [number for number, photo in enumerate(photos) if person in photo.names.values()]
        wanted = min(count, counts[person] // HELD_OUT_ONE_IN) - len(chosen.intersection(theirs))
        free = [number for number in theirs if number not in chosen]
        free.sort(
            key=lambda number: (len(photos[number].detected.faces) > 1, _drawn(seed, photos[number].detected.digest))
        )
        chosen.update(free[: max(wanted, 0)])
    return chosen


def with_identities(names: Mapping[int, str], identities: Sequence[str]) -> dict[int, int]:
    """Face numbers to indices of people."""
    return {face: list(identities).index(name) for face, name in names.items()}


def _drawn(*parts: object) -> int:
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:8], "big")


def _cut(
    photo: NamedPhoto, buckets: Sequence[tuple[int, int]], settings: PrepareSettings
) -> tuple[tuple[int, ...], tuple[Crop, ...]]:
    """The chosen faces from left to right and the crops that show them; strangers at the edge give way."""
    detected = photo.detected
    ranked = _ranked(photo, min(settings.sizes))[: settings.max_faces]
    while ranked:
        boxes = [detected.faces[face].box_px for face in ranked]
        rng = np.random.default_rng(_drawn(settings.seed, detected.digest))
        found = crops(detected.width_px, detected.height_px, boxes, buckets, settings.crops, rng, settings.upscale)
        if found or ranked[-1] in photo.names:
            return tuple(
                sorted(ranked, key=lambda face: detected.faces[face].box_px[0] + detected.faces[face].box_px[2])
            ), found
        ranked = ranked[:-1]
    return (), ()


def _ranked(photo: NamedPhoto, size_px: int) -> list[int]:
    """Faces by importance: people with names, then strangers with enough pixels, each by size."""
    faces = photo.detected.faces
    wanted = [
        number for number, face in enumerate(faces) if number in photo.names or not is_small(face.box_px, size_px)
    ]

    def area(number: int) -> float:
        x1, y1, x2, y2 = faces[number].box_px
        return (x2 - x1) * (y2 - y1)

    return sorted(wanted, key=lambda number: (number not in photo.names, -area(number)))


def _why_not(photo: NamedPhoto, settings: PrepareSettings) -> Reason:
    detected = photo.detected
    if not _ranked(photo, min(settings.sizes)):
        return Reason("all faces in it are small, and nobody is known")
    return Reason(
        "no bucket fits: its faces stand too far apart, or it is too small; use a photo where they are closer "
        "together, other aspects or smaller sizes",
        f"{detected.width_px} x {detected.height_px} pixels",
    )


def _record(
    photo: NamedPhoto,
    number: int,
    index: int,
    identities: Sequence[str],
    settings: PrepareSettings,
    models: PreparationModels,
    median_length: float,
) -> FaceRecord:
    detected, face = photo.detected, photo.detected.faces[number]
    whole = Crop((0.0, 0.0, float(detected.width_px), float(detected.height_px)), detected.width_px, detected.height_px)
    length = float(np.linalg.norm(face.embedding))
    return FaceRecord(
        with_identities(photo.names, identities).get(number, UNKNOWN),
        index,
        whole.box(face.box_px),
        whole.points(face.landmarks_px.astype(np.float64)).astype(np.float32),
        flags(face.box_px, face.landmarks_px, detected.sharp[number], length, min(settings.sizes), median_length),
        siglip_key(models, detected.digest, face.box_px),
        tuple(siglip_key(models, detected.digest, jitter) for jitter in _jitters(detected, number, settings, models)),
    )


def _jitters(
    detected: DetectedPhoto, number: int, settings: PrepareSettings, models: PreparationModels
) -> tuple[Jitter, ...]:
    if models.siglip is None:
        return ()
    return jitters(settings.jitter, detected, number, settings.seed)


def _crop_entry(
    detected: DetectedPhoto, crop: Crop, faces: Sequence[int], first: int, models: PreparationModels
) -> CropEntry:
    placed = tuple(
        CropFace(
            first + number,
            crop.box(detected.faces[face].box_px),
            crop.points(detected.faces[face].landmarks_px.astype(np.float64)).astype(np.float32),
        )
        for number, face in enumerate(faces)
    )
    return CropEntry(crop.width_px, crop.height_px, placed, latent_key(models, detected.digest, crop))
