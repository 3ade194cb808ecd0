"""The images of a batch in the order of a stated score."""

from collections.abc import Sequence
from typing import Literal

from ..metrics.case import CaseScores

PickBy = Literal["likeness", "likeness minus copying", "least leakage"]
PICK_BY: tuple[PickBy, ...] = ("likeness", "likeness minus copying", "least leakage")


def rank(scores: Sequence[CaseScores], by: PickBy) -> list[tuple[int, float | None]]:
    """All images, best first, as index and score; those without a score come last.

    likeness                Sim(GT), or Sim(Ref) without ground truth; lost people count as 0
    likeness minus copying  Sim(GT) - copy-paste
    least leakage           minus the leakage; images that lost fewer people come first, whatever theirs is

    Raises ValueError for a score that cannot be computed from what was measured.
    """
    if by not in PICK_BY:
        raise ValueError(f"The score is {by!r}; expected one of {', '.join(PICK_BY)}.")
    values = [_pick_score(score, by) for score in scores]
    if by == "likeness minus copying" and all(score.truth_faces is None for score in scores):
        raise ValueError(
            f"{by!r} needs something the people should look like besides their references: connect truth or "
            "second_photos, or choose 'likeness'."
        )
    if by == "least leakage" and all(score.expected < 2 for score in scores):
        raise ValueError(f"{by!r} needs at least two people; only one is placed. Choose 'likeness'.")
    fewest_lost = by == "least leakage"

    def order(index: int) -> tuple[bool, int, float]:
        value = values[index]
        return value is None, len(scores[index].lost) if fewest_lost else 0, -(value or 0.0)

    return [(index, values[index]) for index in sorted(range(len(scores)), key=order)]


def _pick_score(score: CaseScores, by: PickBy) -> float | None:
    if by == "likeness":
        return score.sim_ref if score.sim_gt is None else score.sim_gt
    if by == "least leakage":
        return None if score.leakage is None else -score.leakage
    return None if score.sim_gt is None or score.copy_paste is None else score.sim_gt - score.copy_paste
