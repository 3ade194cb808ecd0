"""Scores of previews: each generated image against the held-out photo that it was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from withanyone_core.metrics.case import METRICS, CaseScores
from withanyone_core.metrics.summary import Statistic, judges_mean, statistic

from ..evaluation.measuring import EvaluationModels, case_images, measure_images
from ..evaluation.records import Line
from ..evaluation.report import scores_of

MEASURES = ("sim_gt", "sim_ref", "copy_paste", "leakage")


@dataclass(frozen=True, eq=False)
class Truth:
    """What a preview is compared with, RGB uint8 [H, W, 3]: the held-out photo, and each person's reference."""

    photo: np.ndarray
    references: tuple[np.ndarray, ...]
    boxes: tuple[tuple[float, float, float, float], ...]


def score_images(
    previews: Sequence[np.ndarray],
    truths: Sequence[Truth],
    names: Sequence[str],
    evaluation_models: EvaluationModels,
) -> list[Line]:
    """A line of scores for each preview [H, W, 3]."""
    lines = []
    for image, truth, name in zip(previews, truths, names, strict=True):
        case = case_images(name, image, truth.photo, truth.references, truth.boxes, evaluation_models)
        lines.append(measure_images(case, evaluation_models))
    return lines


def headline(lines: Sequence[Line], evaluation_models: EvaluationModels, seed: int) -> dict[str, Any]:
    """By metric the mean over previews and the judges training has not used, with its 95 % interval; None without.

    Under "images" each preview's own values, the mean over these judges; "photos" is that of two photos of the person.
    """
    names = [judge.info.name for judge in evaluation_models.judges if not judge.info.trained_with]
    scores = scores_of([line for line in lines if line["scores"]], names) if names else []
    if not scores:
        return dict.fromkeys(METRICS)
    judged = {metric: judges_mean(scores, metric) for metric in METRICS}
    found = {metric: statistic(*values, seed=seed) for metric, values in judged.items()}
    names = sorted(each.name for each in scores[0])
    images = {
        name: {**{metric: judged[metric][0][index] for metric in MEASURES}, "photos": _between_photos(scores, name)}
        for index, name in enumerate(names)
    }
    return {**{metric: plain(value) for metric, value in found.items()}, "images": images}


def plain(value: Statistic | None) -> dict[str, float | None] | None:
    """A mean with its interval and the number of images, for JSON."""
    return None if value is None else {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}


def _between_photos(judged: Sequence[Sequence[CaseScores]], name: str) -> float | None:
    """The cosine of a held-out photo's faces with their references, the mean over people and judges."""
    people = (person for scores in judged for each in scores if each.name == name for person in each.identities)
    known = [person.sim_tr for person in people if person.sim_tr is not None]
    return float(np.mean(known)) if known else None
