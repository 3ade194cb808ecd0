"""Early stopping: when more training only copies, judged by the series of validations and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from .judgement import ValidationScores, compare


@dataclass(frozen=True)
class Verdict:
    """best_step is None where the scores do not say; `reason` says why to stop, or is empty."""

    best_step: int | None
    reason: str = ""

    @property
    def stop(self) -> bool:
        return bool(self.reason)


def verdict(
    validations: Sequence[ValidationScores], max_copy_paste_increase: float = 0.1, patience: int = 2, seed: int = 0
) -> Verdict:
    """Whether to stop after the last validation, and which checkpoint is best.

    A later checkpoint takes the place of the best where the paired interval says that it is better. The run stops where
    at each of the last `patience` validations copy-paste is above the best validation before them, by its interval and
    by more than `max_copy_paste_increase`, and the interval of Sim(GT) does not say that likeness has risen.

    Only validations that were drawn and judged like the last one count, and only where enough images can be compared.
    """
    scored = [scores for scores in validations if scores.is_scored]
    scored = [scores for scores in scored if scores.setup == scored[-1].setup]
    if not scored or compare(scored[0], scored[-1], scored[0]) is None:
        return Verdict(None)
    start = scored[0]
    # Step 0 is the adapter as it came, and no result of the run.
    trained = [scores for scores in scored if scores.step > 0]
    best_step = _best(trained, start, seed).step if trained else None
    before, last = scored[:-patience], scored[-patience:]
    if not before or len(last) < patience:
        return Verdict(best_step)
    standard = _best(before, start, seed)
    compared = [each for scores in last if (each := compare(standard, scores, start, seed)) is not None]
    copies = [each for each in compared if each.copies_more(max_copy_paste_increase) and not each.sim_gt.is_above]
    if len(copies) < patience:
        return Verdict(best_step)
    copying, likeness = ((standard.mean(name), last[-1].mean(name)) for name in ("copy_paste", "sim_gt"))
    return Verdict(
        best_step,
        f"copying rose from {copying[0]:.3f} at step {standard.step} to {copying[1]:.3f} at step {last[-1].step} "
        f"({copies[-1].copy_paste}), while Sim(GT) went from {likeness[0]:.3f} to {likeness[1]:.3f} "
        f"({copies[-1].sim_gt})",
    )


def _best(validations: Sequence[ValidationScores], start: ValidationScores, seed: int) -> ValidationScores:
    """The last that is better than the best before it, or the first."""
    best = validations[0]
    for scores in validations[1:]:
        compared = compare(best, scores, start, seed)
        if compared is not None and compared.score.is_above:
            best = scores
    return best
