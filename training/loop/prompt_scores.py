"""Scores of images that were generated from prompts, for which no target photo exists.

Each person is compared with the reference, and with other photos of theirs in the place of a target, one after the
other:

sim_photos  mean cosine with those photos; what Sim(GT) is to a held-out photo
sim_ref     cosine with the reference
copy_paste  mean of (angle to the photo - angle to the reference) / (angle between the two): +1 repeats the reference, 0
            is as near to one as to the other. -1, the target itself, is no value to reach: nothing shows what the
            prompt says
leakage     how much each person looks like the others' references
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from withanyone_core.metrics.building import (
    CaseImages,
    DetectedImage,
    build_case,
    detect,
    detect_reference,
    scale_boxes,
)
from withanyone_core.metrics.cache import Embedder
from withanyone_core.metrics.case import CaseScores, FaceEmbeddings
from withanyone_core.metrics.scoring import score_case
from withanyone_core.metrics.summary import statistic

from ..cache.cache import Cache
from ..evaluation.measuring import EvaluationModels
from .images import reference_image
from .preview_scores import plain
from .prompts import PromptScene
from .step import FrozenModels

Scores = dict[str, float | None]
MEASURES = {"sim_photos": "sim_gt", "sim_ref": "sim_ref", "copy_paste": "copy_paste", "leakage": "leakage"}


@dataclass(frozen=True, eq=False)
class KnownPeople:
    """What the people of a prompt are compared with, RGB uint8 [H, W, 3]: each one's reference, and other photos."""

    references: tuple[np.ndarray, ...]
    photos: tuple[tuple[np.ndarray, ...], ...]


def known_people(cache: Cache, scene: PromptScene, frozen: FrozenModels) -> KnownPeople:
    """Decoded from the cache, around each face."""
    return KnownPeople(
        tuple(reference_image(cache, person.reference, frozen) for person in scene.sample.people),
        tuple(tuple(reference_image(cache, face, frozen) for face in faces) for faces in scene.plan.photos),
    )


def score_prompts(
    images: Sequence[np.ndarray],
    scenes: Sequence[PromptScene],
    known: Sequence[KnownPeople],
    models: EvaluationModels,
    seed: int,
) -> dict[str, Any]:
    """By measure the mean over the prompts with its 95 % interval; under "images" each prompt's own values.

    By the judges training has not used; nothing without one.
    """
    judges = [judge for judge in models.judges if not judge.info.trained_with]
    if not judges:
        return {}
    found = {
        scene.name: _scores(image, scene, people, models, judges)
        for image, scene, people in zip(images, scenes, known, strict=True)
    }
    values = {measure: [scores[measure] for scores in found.values()] for measure in MEASURES}
    return {**{measure: plain(statistic(each, seed=seed)) for measure, each in values.items()}, "images": found}


def _scores(
    image: np.ndarray,
    scene: PromptScene,
    people: KnownPeople,
    models: EvaluationModels,
    judges: Sequence[Embedder],
) -> Scores:
    """Of one image, the mean over judges; None where one of them cannot say."""
    generated = detect(image, models.analysis)
    references = tuple(detect_reference(each, models.analysis) for each in people.references)
    photos = [[detect_reference(each, models.analysis) for each in of_person] for of_person in people.photos]
    judged = [_by_judge(scene, generated, references, photos, judge) for judge in judges]
    return {measure: _mean_of_all([scores[measure] for scores in judged]) for measure in MEASURES}


def _by_judge(
    scene: PromptScene,
    generated: DetectedImage,
    references: tuple[DetectedImage, ...],
    photos: Sequence[Sequence[DetectedImage]],
    judge: Embedder,
) -> Scores:
    """The mean over the photos, one of each person at a time."""
    rows = [[_embedding(photo, judge) for photo in of_person if photo.faces] for of_person in photos]
    rounds = range(max(1, *map(len, rows)))
    try:
        cases = [_scored(scene, generated, references, [_turn(each, turn) for each in rows], judge) for turn in rounds]
    except ValueError:  # an embedding without a direction
        return dict.fromkeys(MEASURES)
    return {measure: _mean_of_known([case.value(metric) for case in cases]) for measure, metric in MEASURES.items()}


def _scored(
    scene: PromptScene,
    generated: DetectedImage,
    references: tuple[DetectedImage, ...],
    truths: Sequence[np.ndarray | None],
    judge: Embedder,
) -> CaseScores:
    """truths  an embedding [d] of each person in the place of a target's face, None where no photo shows one"""
    boxes = scale_boxes([person.box for person in scene.sample.people], generated.image, generated.image)
    there = [(box, truth) for box, truth in zip(boxes, truths, strict=True) if truth is not None]
    truth = None
    if there:
        truth = FaceEmbeddings(
            np.array([box for box, _ in there], np.float32),
            np.ones(len(there), np.float32),
            np.stack([embedding for _, embedding in there]),
        )
    images = CaseImages(
        scene.name, generated, truth, references, boxes, boxes if truth is not None else None, scene.plan.people
    )
    return score_case(build_case(images, judge.embed))


def _embedding(photo: DetectedImage, judge: Embedder) -> np.ndarray:
    """Of the face that was found first, float32 [d]."""
    return np.asarray(judge.embed(photo.image, photo.faces), np.float32)[0]


def _turn(rows: Sequence[np.ndarray], turn: int) -> np.ndarray | None:
    return rows[turn % len(rows)] if rows else None


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
