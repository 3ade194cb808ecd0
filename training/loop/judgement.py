"""Judgement with statistics: one validation against another, by a paired bootstrap over the same prompts and seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from withanyone_core.metrics.summary import interval, paired_means
from withanyone_core.tolerance import SLACK

from ..configuration.finetune import Finetune

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
class Judgement:
    """What a run has brought: a word (None where nothing can be said), one line that begins with it, and how it was
    found.
    """

    word: Word | None
    line: str
    how: str


def judge(first: Mapping[str, Any], chosen: Mapping[str, Any], settings: Finetune) -> Judgement:
    """The chosen checkpoint's validation against that of step 0; both empty where nothing was validated."""
    start, later = (scores_at(each) if each else ValidationScores(0) for each in (first, chosen))
    found = None if first is chosen else compare(start, later, start, settings.seed)
    if found is None:
        return Judgement(None, "not judged", _why_not(start, later))
    word = found.word(settings.early_stopping.max_copy_paste_increase)
    against = {"better": "better than", "same": "same as", "worse": "worse than", "copies": "copies more than"}[word]
    copying = "not known" if found.copy_paste is None else str(found.copy_paste)
    return Judgement(
        word,
        f"{against} step {start.step}: Sim(GT) {found.sim_gt}, copy-paste {copying}",
        f"Differences of step {later.step} from step {start.step} with 95 % intervals of a paired bootstrap: "
        f"{found.images} images, each compared with the one of the same prompt and seed. The checkpoint was chosen on "
        "these images too, so its gain is rather too high than too low; evaluate.py judges it on others.",
    )


def _why_not(start: ValidationScores, later: ValidationScores) -> str:
    if not start.sim_gt and not later.sim_gt:
        return (
            "No judge was named (validation.judges), or none could judge an image of a held-out photo, so likeness and "
            "copying were not measured."
        )
    if start.setup != later.setup:
        return (
            f"The images of step {start.step} and of step {later.step} were drawn or judged with other settings, so "
            "they cannot be compared."
        )
    if start.step == later.step:
        return "No validation was taken after the first."
    return (
        f"Fewer than {LEAST_IMAGES} images have a score at both step {start.step} and step {later.step}. Chance alone "
        "changes so few in one direction too often. Raise validation.seeds or num_images, or "
        "prepare with more photos held out."
    )


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


def _difference(means: np.ndarray) -> Difference:
    """Of means [2, 1 + resamples]."""
    differences = means[1] - means[0]
    return Difference(float(differences[0]), *interval(differences[1:]))


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
