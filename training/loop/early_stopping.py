"""Early stopping: when more training only copies, judged by the series of validations and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from withanyone_core.tolerance import SLACK

# Copying above the untrained adapter's counts half as much as likeness (specification of the training, 9.7).
COPY_PASTE_PENALTY = 0.5


@dataclass(frozen=True)
class ValidationScores:
    """Scores of the images generated at a step; None where no face was found or there is no judge.

    sim_gt, sim_ref  cosines with the person in the held-out photo and with the reference photo
    copy_paste       -1 (the held-out photo itself) to +1 (the reference itself)
    """

    step: int
    sim_gt: float | None = None
    sim_ref: float | None = None
    copy_paste: float | None = None

    @property
    def is_scored(self) -> bool:
        return self.sim_gt is not None and self.copy_paste is not None


@dataclass(frozen=True)
class Verdict:
    """best_step is None before the first scored validation after step 0; `reason` says why to stop, or is empty."""

    best_step: int | None
    reason: str = ""

    @property
    def stop(self) -> bool:
        return bool(self.reason)


def score(scores: ValidationScores, start: ValidationScores) -> float:
    """Sim(GT) less the copying that training has added."""
    return scores.sim_gt - COPY_PASTE_PENALTY * max(0.0, scores.copy_paste - start.copy_paste)


def verdict(
    validations: Sequence[ValidationScores],
    max_copy_paste_increase: float = 0.1,
    min_sim_gt_gain: float = 0.01,
    patience: int = 2,
) -> Verdict:
    """Whether to stop after the last validation, and which checkpoint is best.

    The run stops where at each of the last `patience` validations copy-paste is more than `max_copy_paste_increase`
    above the best validation before them, while Sim(GT) is less than `min_sim_gt_gain` above it.
    """
    scored = [scores for scores in validations if scores.is_scored]
    if not scored:
        return Verdict(None)
    start = scored[0]
    trained = [scores for scores in scored if scores.step > 0]
    best = max(trained, key=lambda scores: score(scores, start), default=None)
    best_step = best.step if best else None
    before, last = scored[:-patience], scored[-patience:]
    if not before or len(last) < patience:
        return Verdict(best_step)
    standard = max(before, key=lambda scores: score(scores, start))
    copies = all(
        scores.copy_paste > standard.copy_paste + max_copy_paste_increase + SLACK
        and scores.sim_gt < standard.sim_gt + min_sim_gt_gain - SLACK
        for scores in last
    )
    if not copies:
        return Verdict(best_step)
    return Verdict(
        best_step,
        f"copying rose from {standard.copy_paste:.3f} at step {standard.step} to {last[-1].copy_paste:.3f} at step "
        f"{last[-1].step}, while Sim(GT) went from {standard.sim_gt:.3f} to {last[-1].sim_gt:.3f}",
    )
