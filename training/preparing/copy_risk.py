"""Copy risk: how likely training on these photos is to learn copy-paste, judged before a GPU is used.

An adapter copies where reference and target of its training pairs look the same: then the cheapest way to a small loss
is to repeat the reference. The risk of a person, 0 to 1, is

    0.35 similarity + 0.25 repeats + 0.15 pose + 0.10 expression + 0.15 number

    similarity  mean cosine of all pairs of photos: 0 at 0.5 (the median over different days is 0.46), 1 at 0.9
    repeats     fraction of the photos that have a near-duplicate among the others
    pose        1 less the spread of head turns: how far the nose is from between the eyes has a full spread at a
                standard deviation of 0.12 eye distances
    expression  1 less the spread of mouth widths, which is full at a standard deviation of 0.05 of the mean
    number      0 at 15 photos, 1 at 2

and 1 for a person with a single photo, whose reference can only be the target itself. The risk of the data is the mean
over the people. The weights are judgement, not a fit; folders are to be ranked by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from withanyone_core.faces.alignment import similarity
from withanyone_core.tolerance import SLACK

from .photos import hash_distance

WEIGHTS = {"similarity": 0.35, "repeats": 0.25, "pose": 0.15, "expression": 0.10, "number": 0.15}
HARMLESS_COSINE, COPYING_COSINE = 0.5, 0.9
REPEAT_COSINE, REPEAT_BITS = 0.95, 10
FULL_TURN_SPREAD, FULL_MOUTH_SPREAD = 0.12, 0.05
ENOUGH_PHOTOS, FEWEST_PHOTOS = 15, 2
TURNED = 0.15  # eye distances of the nose from between the eyes: a head turned by about 15 degrees
HIGH, MEDIUM = 0.6, 0.35


@dataclass(frozen=True, eq=False)
class PersonPhoto:
    """One accepted photo of a person: raw embedding [512], landmarks float [5, 2] in pixels, hash, number of people."""

    embedding: np.ndarray
    landmarks_px: np.ndarray
    hash: int
    people: int


@dataclass(frozen=True)
class PersonCopyRisk:
    """The copy risk of one person.

    photos       usable ones
    similarity   mean cosine over pairs, with the 10th and 90th percentile; None with a single photo
    repeats      photos with a near-duplicate
    turned       photos with the head to the viewer's left, ahead, and to the right
    turn_spread, mouth_spread  standard deviations, see above
    head_counts  people in a photo to the number of such photos
    parts        each part of the risk, 0 to 1, before weighting
    risk         0 to 1
    advice       what to add
    """

    person: str
    photos: int
    similarity: tuple[float, float, float] | None
    repeats: int
    turned: tuple[int, int, int]
    turn_spread: float
    mouth_spread: float
    head_counts: Mapping[int, int]
    parts: Mapping[str, float]
    risk: float
    advice: tuple[str, ...]


@dataclass(frozen=True)
class CopyRisk:
    """The copy risk of all people and of the data, 0 to 1, and what the whole lacks."""

    people: tuple[PersonCopyRisk, ...]
    risk: float
    advice: tuple[str, ...]


def assess_people(photos: Mapping[str, Sequence[PersonPhoto]], foreign: int) -> CopyRisk:
    """The copy risk of every person's photos.

    foreign  number of other people's faces among the negatives
    """
    people = tuple(assess_person(person, found) for person, found in photos.items() if found)
    risk = float(np.mean([person.risk for person in people])) if people else 1.0
    advice = []
    if not any(count > 1 for person in people for count in person.head_counts):
        advice.append("Every photo shows one person. Add photos of several for images of several.")
    if foreign == 0:
        advice.append("There are no faces of other people. Put some hundred into negatives, one photo a person.")
    if len(people) == 1:
        advice.append("With one person only negatives tell people apart; a second person helps.")
    return CopyRisk(people, risk, tuple(advice))


def assess_person(person: str, photos: Sequence[PersonPhoto]) -> PersonCopyRisk:
    """The findings on one person with at least one photo."""
    embeddings = np.stack([photo.embedding for photo in photos]).astype(np.float64)
    cosines = _cosines(embeddings)
    pairs = cosines[np.triu_indices(len(photos), 1)]
    repeats = _repeats(cosines, [photo.hash for photo in photos])
    shapes = np.array([_shape(photo.landmarks_px) for photo in photos])
    turn_spread, mouth_spread = float(shapes[:, 0].std()), float(shapes[:, 1].std() / max(shapes[:, 1].mean(), 1e-9))
    parts = {
        "similarity": _fraction(float(pairs.mean()), HARMLESS_COSINE, COPYING_COSINE) if len(pairs) else 1.0,
        "repeats": repeats / len(photos),
        "pose": 1.0 - _fraction(turn_spread, 0.0, FULL_TURN_SPREAD),
        "expression": 1.0 - _fraction(mouth_spread, 0.0, FULL_MOUTH_SPREAD),
        "number": 1.0 - _fraction(len(photos), FEWEST_PHOTOS, ENOUGH_PHOTOS),
    }
    turns = shapes[:, 0]
    left, right = turns < -TURNED - SLACK, turns > TURNED + SLACK
    turned = (int(left.sum()), int((~left & ~right).sum()), int(right.sum()))
    counts = {people: sum(photo.people == people for photo in photos) for people in {photo.people for photo in photos}}
    return PersonCopyRisk(
        person,
        len(photos),
        (float(pairs.mean()), *np.percentile(pairs, (10, 90)).tolist()) if len(pairs) else None,
        repeats,
        turned,
        turn_spread,
        mouth_spread,
        dict(sorted(counts.items())),
        parts,
        sum(WEIGHTS[name] * part for name, part in parts.items()) if len(photos) > 1 else 1.0,
        tuple(_advice(parts, len(photos), turned)),
    )


def risk_level(risk: float) -> str:
    """A word for a risk."""
    return "high" if risk >= HIGH - SLACK else "medium" if risk >= MEDIUM - SLACK else "low"


def _advice(parts: Mapping[str, float], photos: int, turned: tuple[int, int, int]) -> list[str]:
    advice = []
    if photos < FEWEST_PHOTOS:
        advice.append("a second photo at least: a single one can only be copied")
    if parts["similarity"] > 0.5 or parts["repeats"] > 0.25:
        advice.append("photos from other days, places and light")
    if parts["pose"] > 0.5:
        sides = [side for side, count in zip(("left", "ahead", "right"), turned, strict=True) if not count]
        advice.append(f"photos with the head turned{' (none looks ' + ' or '.join(sides) + ')' if sides else ''}")
    if parts["expression"] > 0.5:
        advice.append("other expressions: laughing, talking, serious")
    if photos < ENOUGH_PHOTOS:
        advice.append(f"{ENOUGH_PHOTOS - photos} more photos")
    return advice


def _shape(landmarks_px: np.ndarray) -> tuple[float, float]:
    """Of an upright face: how far the nose is right of between the eyes, and how wide the mouth is.

    The first in eye distances, the second in distances of eyes and mouth.
    """
    matrix = similarity(landmarks_px)
    left, right, nose, mouth_left, mouth_right = landmarks_px @ matrix[:, :2].T + matrix[:, 2]
    height = max(float(abs((mouth_left + mouth_right - left - right)[1])) / 2, 1e-6)
    # In profile the eyes fall together; the height from eyes to mouth stays what it is.
    eyes = max(float(np.linalg.norm(right - left)), 0.5 * height)
    return float((nose[0] - (left[0] + right[0]) / 2) / eyes), float(np.linalg.norm(mouth_right - mouth_left)) / height


def _repeats(cosines: np.ndarray, hashes: Sequence[int]) -> int:
    """Photos that have a near-duplicate."""
    count = len(hashes)
    near = cosines > REPEAT_COSINE + SLACK
    for first in range(count):
        for second in range(first + 1, count):
            if hash_distance(hashes[first], hashes[second]) <= REPEAT_BITS:
                near[first, second] = near[second, first] = True
    np.fill_diagonal(near, False)
    return int(near.any(axis=1).sum())


def _cosines(embeddings: np.ndarray) -> np.ndarray:
    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return units @ units.T


def _fraction(value: float, low: float, high: float) -> float:
    """Where a value lies between two marks, 0 to 1."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))
