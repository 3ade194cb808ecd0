"""Replays of the benchmark's arithmetic: copy-paste, matched similarities, and the trimmed summary."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from math import pi
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...withanyone_core.metrics.case import Case, CaseScores, FaceEmbeddings
from ...withanyone_core.metrics.scoring import score_case
from ...withanyone_core.metrics.summary import legacy_statistic
from .report import Outcome, exact
from .stored import tensors

SIMILARITY, TABLE = 1e-5, 1e-6
# The stored numbers were made in float32. Near 1 and -1 a cosine's last bit, 6e-8, is an angle of 3e-4, so that where
# two of the three embeddings are (almost) one or opposite, the stored copy-paste itself is no better than this.
ALIKE_RADIANS, ALIKE = 0.05, 5e-4
_LISTS = {"sim_gt": "sim_gt", "sim_ref": "sim_ref", "copy_paste": "copy_paste"}
_MEANS = {"sim_gt_mean": "sim_gt", "sim_ref_mean": "sim_ref", "copy_paste_mean": "copy_paste"}
_OFF = {"off_gt": "blending", "off_ref": "leakage"}


def copy_paste(path: Path) -> Iterator[Outcome]:
    stored, expected = tensors(path.with_suffix(".safetensors")), json.loads(path.read_text())
    for row, value in enumerate(expected["triples"]):
        for legacy in (False, True):
            scores = _scored(stored, "triples", legacy, slice(row, row + 1))
            one = scores.identities[0]
            alike = any(min(theta, pi - theta) < ALIKE_RADIANS for theta in (one.theta_gt, one.theta_gr, one.theta_tr))
            case = f"triple {row}{' legacy' if legacy else ''}"
            yield _close(case, scores.copy_paste, value, ALIKE if alike else SIMILARITY)
    for index, case in enumerate(expected["multi"]):
        yield from _several(f"multi{index}", case, _scored(stored, f"multi{index}", legacy=True))


def bench_stats(path: Path) -> Iterator[Outcome]:
    for index, case in enumerate(json.loads(path.read_text())):
        found, result = legacy_statistic(case["values"]), case["result"]
        if found is None or result is None:
            yield exact(f"list {index}", found, result)
            continue
        for key, value in asdict(found).items():
            same = exact if isinstance(value, int) else _close_table
            yield same(f"list {index} {key}", value, result[key])


def _several(name: str, expected: dict, scores: CaseScores) -> Iterator[Outcome]:
    yield exact(f"{name} counts", [scores.generated, scores.truth_faces], [expected["n_gen"], expected["n_target"]])
    for key, field in _LISTS.items():
        values = [getattr(score, field) for score in scores.identities]
        yield _close(f"{name} {key}", None if None in values else values, expected[key], SIMILARITY)
    for key, field in (_MEANS | _OFF).items():
        yield _close(f"{name} {key}", getattr(scores, field), expected[key], SIMILARITY)
    equal = scores.generated == scores.truth_faces
    strict = [score.sim_gt for score in scores.identities] if equal else None
    yield _close(f"{name} strict_equal_count_sims", strict, expected["strict_equal_count_sims"], SIMILARITY)


def _scored(stored: dict[str, Tensor], name: str, legacy: bool, rows: slice = slice(None)) -> CaseScores:
    generated, truth, references = (stored[f"{name}.{part}"][rows].numpy() for part in ("gen", "target", "ref"))
    one_each = tuple(FaceEmbeddings.single(embedding) for embedding in references)
    return score_case(Case(name, _faces(generated), _faces(truth), one_each), legacy)


def _faces(embeddings: np.ndarray) -> FaceEmbeddings:
    return FaceEmbeddings(np.zeros((len(embeddings), 4), np.float32), np.ones(len(embeddings), np.float32), embeddings)


def _close_table(case: str, value: float, reference: float) -> Outcome:
    return _close(case, value, reference, TABLE)


def _close(case: str, value: float | list[float] | None, reference: float | list[float] | None, gate: float) -> Outcome:
    """Absolute difference, as both are cosines, angles' quotients or numbers of that size."""
    if value is None or reference is None:
        return exact(case, value, reference)
    found, expected = torch.tensor(value, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)
    if found.shape != expected.shape:
        return exact(case, value, reference)
    error = (found - expected).abs().max().item()
    return Outcome(case, "passed" if error <= gate else "failed", error, "" if error <= gate else f"gate {gate:g}")
