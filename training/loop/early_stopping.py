"""Early stopping: when more training only copies, judged by the series of validations and nothing else.

Two validations are compared by a paired bootstrap over the images of the same prompts and seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from withanyone_core.metrics.summary import interval, paired_means
from withanyone_core.tolerance import SLACK

# That all of fewer images change in one direction happens by chance more often than once in twenty.
LEAST_IMAGES = 6
# Copying above the untrained adapter's counts half as much as likeness (specification of the training, 9.7).
COPY_PASTE_PENALTY = 0.5
DIGITS = 3  # of a difference as it is shown; what is shown as 0 is none
Word = Literal["better", "same", "worse", "copies"]


@dataclass(frozen=True)
class ValidationScores:
    """Scores of the images generated at a step, by image; empty where there is no judge.

    sim_gt      cosine with the person in the held-out photo
    copy_paste  -1 (the held-out photo itself) to +1 (the reference itself)
    setup       what they were drawn and judged with: only those of one setup can be compared
    """

    step: int
    sim_gt: Mapping[str, float | None] = field(default_factory=dict)
    copy_paste: Mapping[str, float | None] = field(default_factory=dict)
    setup: str = ""

    @property
    def is_scored(self) -> bool:
        return bool(_known(self.sim_gt))

    def mean(self, metric: Literal["sim_gt", "copy_paste"]) -> float:
        """Over the images with a value; NaN without any."""
        known = _known(getattr(self, metric))
        return float(np.mean(list(known.values()))) if known else float("nan")


@dataclass(frozen=True)
class Difference:
    """A difference of means and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def is_above(self) -> bool:
        """Whether it is above 0 by its interval, as shown."""
        # Rounded as it is shown: nobody shall read +0.000 and take it for a rise.
        return round(self.low, DIGITS) > 0

    @property
    def is_below(self) -> bool:
        return round(self.high, DIGITS) < 0

    def __str__(self) -> str:
        return f"{self.mean:+.{DIGITS}f} [{self.low:+.{DIGITS}f}, {self.high:+.{DIGITS}f}]"


@dataclass(frozen=True)
class Comparison:
    """A later validation less an earlier one.

    images      how many were compared, each with itself
    sim_gt      difference of likeness
    copy_paste  of copying; None where fewer than LEAST_IMAGES have it in both
    score       of likeness less the copying that training has added
    """

    images: int
    sim_gt: Difference
    copy_paste: Difference | None
    score: Difference

    def copies_more(self, max_increase: float) -> bool:
        """Whether copying rises by its interval, and by more than is accepted."""
        found = self.copy_paste
        return found is not None and found.is_above and found.mean > max_increase + SLACK

    def word(self, max_increase: float) -> Word:
        """copies: copying rises, and likeness does not by more than that costs."""
        copies = self.copies_more(max_increase)
        if self.sim_gt.is_above and (not copies or self.score.is_above):
            return "better"
        if copies:
            return "copies"
        return "worse" if self.sim_gt.is_below else "same"


@dataclass(frozen=True)
class Verdict:
    """best_step is None where the scores do not say; `reason` says why to stop, or is empty."""

    best_step: int | None
    reason: str = ""

    @property
    def stop(self) -> bool:
        return bool(self.reason)


def scores_at(measured: Mapping[str, Any]) -> ValidationScores:
    """What is compared of the numbers of a validation."""
    images = measured.get("images", {})
    likeness, copying = (
        {name: values[metric] for name, values in images.items()} for metric in ("sim_gt", "copy_paste")
    )
    return ValidationScores(measured["step"], likeness, copying, measured.get("setup", ""))


def compare(
    earlier: ValidationScores, later: ValidationScores, start: ValidationScores, seed: int = 0
) -> Comparison | None:
    """`later` less `earlier`, image by image; None where fewer than LEAST_IMAGES can be compared.

    start  of the run: only copying above its own counts in the score
    """
    if not earlier.setup == later.setup == start.setup:
        return None
    names = sorted(_known(earlier.sim_gt).keys() & _known(later.sim_gt).keys())
    if len(names) < LEAST_IMAGES:
        return None
    copying = [_known(scores.copy_paste) for scores in (earlier, later, start)]
    common = copying[0].keys() & copying[1].keys() & copying[2].keys() & set(names)
    likeness = [[scores.sim_gt[name] for name in names] for scores in (earlier, later)]
    copied = [[values[name] if name in common else None for name in names] for values in copying]
    sims, copies = np.split(paired_means([*likeness, *copied], seed), [2])
    # Too few show copying in all three to compare, so it counts for neither.
    if len(common) < LEAST_IMAGES:
        copies = np.zeros_like(copies)
    # Copying less than the start earns nothing; only what training has added is held against it.
    added = np.maximum(0.0, copies[:2] - copies[2])
    scores = sims - COPY_PASTE_PENALTY * added
    return Comparison(
        len(names),
        _difference(sims),
        _difference(copies[:2]) if len(common) >= LEAST_IMAGES else None,
        _difference(scores),
    )


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


def _difference(means: np.ndarray) -> Difference:
    """Of means [2, 1 + resamples]."""
    differences = means[1] - means[0]
    return Difference(float(differences[0]), *interval(differences[1:]))


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
