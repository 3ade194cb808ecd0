"""Previews as judges see them that no loss uses: likeness to the held-out photo and to the reference, and copying."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from withanyone_core.metrics.case import METRICS
from withanyone_core.metrics.summary import judges_mean, statistic

from ..cache.cache import Cache
from ..evaluation.measuring import EvaluationModels, case_images, measure_images
from ..evaluation.records import Line
from ..evaluation.report import scores_of
from .painting import Scene, original, reference_image
from .step import Frozen
from .stopping import Look


@dataclass(frozen=True, eq=False)
class Truth:
    """What a preview is compared with, RGB uint8 [H, W, 3]: the held-out photo, and each person's reference."""

    photo: np.ndarray
    references: tuple[np.ndarray, ...]
    boxes: tuple[tuple[float, float, float, float], ...]


def truth_of(cache: Cache, scene: Scene, frozen: Frozen) -> Truth:
    sample = scene.sample
    return Truth(
        original(cache, sample.image, sample.crop, frozen),
        tuple(reference_image(cache, person.reference, frozen) for person in sample.people),
        tuple(person.box for person in sample.people),
    )


def judged(
    previews: Sequence[np.ndarray], truths: Sequence[Truth], chosen: Sequence[Scene], instruments: EvaluationModels
) -> list[Line]:
    """A line of scores for each preview [H, W, 3]."""
    lines = []
    for image, truth, scene in zip(previews, truths, chosen, strict=True):
        case = case_images(scene.name, image, truth.photo, truth.references, truth.boxes, instruments)
        lines.append(measure_images(case, instruments))
    return lines


def headline(lines: Sequence[Line], instruments: EvaluationModels, seed: int) -> dict[str, Any]:
    """By metric the mean over previews and the judges training has not used, with its 95 % interval; None without."""
    names = [judge.info.name for judge in instruments.judges if not judge.info.trained_with]
    scores = scores_of([line for line in lines if line["scores"]], names) if names else []
    if not scores:
        return dict.fromkeys(METRICS)
    found = {metric: statistic(*judges_mean(scores, metric), seed=seed) for metric in METRICS}
    return {
        metric: None if value is None else {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}
        for metric, value in found.items()
    }


def look_of(step: int, numbers: dict[str, Any]) -> Look:
    """What the stopping rule reads."""
    means = {name: numbers[name] and numbers[name]["mean"] for name in ("sim_gt", "sim_ref", "copy_paste")}
    return Look(step, **means)


def encoded(image: np.ndarray) -> bytes:
    """PNG bytes of RGB uint8 [H, W, 3]."""
    _, found = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    return found.tobytes()
