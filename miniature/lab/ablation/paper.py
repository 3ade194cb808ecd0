"""What the paper's ablation says, and whether the small world says the same."""

from dataclasses import dataclass

from .estimates import Estimate
from .variants import ALIGNED, FEW, MANY, PAIRS, SELF

CITATION = "WithAnyone, arXiv 2510.14975 v1, table 3"
METRICS = ("sim_gt", "sim_ref", "copy_paste")
LEAST = 0.01  # a smaller change counts as none


@dataclass(frozen=True)
class Row:
    """A row of the paper's Table 3: the full recipe, or the recipe without one part."""

    sim_gt: float
    sim_ref: float
    copy_paste: float


FULL = Row(0.405, 0.551, 0.161)
WITHOUT_PAIRS = Row(0.406, 0.625, 0.239)
WITHOUT_ALIGNMENT = Row(0.385, 0.549, 0.175)
WITH_63_NEGATIVES = Row(0.368, 0.455, 0.074)


@dataclass(frozen=True)
class Expectation:
    """A part of the recipe: the variants without and with it, and the paper's row without it.

    caveat  in which way the two comparisons are not the same
    """

    part: str
    without: str
    with_it: str
    paper: Row
    caveat: str

    def published(self, metric: str) -> float:
        """The change that the part brings in the paper."""
        return round(getattr(FULL, metric) - getattr(self.paper, metric), 3)


EXPECTATIONS = (
    Expectation(
        "pairs",
        SELF,
        PAIRS,
        WITHOUT_PAIRS,
        "the paper's rows have both identity losses, ours have neither",
    ),
    Expectation(
        "GT-aligned identity loss",
        PAIRS,
        ALIGNED,
        WITHOUT_ALIGNMENT,
        "the paper's row without it has the loss at the prediction's own landmarks, ours has none at all",
    ),
    Expectation(
        "4096 negatives instead of 63",
        FEW,
        MANY,
        WITH_63_NEGATIVES,
        "the paper's 63 are of the batch; ours are drawn, besides the few of the batch",
    ),
)


def verdict(ours: Estimate | None, published: float) -> str:
    """Whether a change goes the paper's way, by our interval: it must exclude 0 to count as one."""
    if ours is None:
        return "not measured"
    sign, expected = ours.sign, _sign(published)
    if abs(ours.value) < LEAST:
        sign = 0
    if sign == expected:
        return "agrees" if expected else "agrees: no change in either"
    if not expected:
        return "differs: a change where the paper has none"
    return "differs: the other way" if sign else "indistinguishable from no change"


def _sign(change: float) -> int:
    return 0 if abs(change) < LEAST else 1 if change > 0 else -1
