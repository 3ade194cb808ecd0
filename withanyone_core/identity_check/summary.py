"""Many findings to one line for each person of each variant, and whether it passes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from ..metrics.summary import Statistic, difference_of, statistic
from .values import FAULTS, NAMES, NOBODY, Checked, Finding

TOLERATED = 0.05  # the fraction of faults that a sound set of images shows by chance
RESAMPLES = 2_000
Z = 1.96


@dataclass(frozen=True)
class Row:
    """One person in one variant.

    counts       images by name of NAMES
    faults       fraction of images with a fault, with its 95 % interval (Wilson)
    similarity   mean over the images with a face, with its interval
    fails        whether more images have a fault than is tolerated, beyond the interval
    worse        what is worse than the baseline beyond its interval, readable
    """

    variant: str
    person: str
    counts: Mapping[str, int]
    faults: tuple[float, float, float]
    similarity: Statistic | None
    fails: bool
    worse: tuple[str, ...] = field(default=())

    @property
    def images(self) -> int:
        return sum(self.counts.values())

    @property
    def passes(self) -> bool:
        return not self.fails and not self.worse


@dataclass(frozen=True)
class Baseline:
    """An earlier report: by variant and person, for each image's name its fault (0 or 1) and similarity."""

    values: Mapping[tuple[str, str], Mapping[str, tuple[float, float | None]]]

    def of(self, variant: str, person: str) -> Mapping[str, tuple[float, float | None]] | None:
        """Those of the variant of the same name, or of the only one there is."""
        variants = {known for known, _ in self.values}
        known = variant if variant in variants else next(iter(variants)) if len(variants) == 1 else None
        return None if known is None else self.values.get((known, person))


def summarize(
    checked: Sequence[Checked],
    tolerated: float = TOLERATED,
    seed: int = 0,
    baseline: Baseline | None = None,
) -> list[Row]:
    """A row for each variant and person, in the order in which they come; extra people are a person of their own."""
    found: dict[tuple[str, str], dict[str, Finding]] = {}
    images: Counter[str] = Counter()
    for each in checked:
        images[each.image.variant] += 1
        for finding in each.findings:
            found.setdefault((each.image.variant, finding.person), {}).setdefault(each.image.name, finding)
    order = {name: place for place, name in enumerate(dict.fromkeys(person for _, person in found))}
    rows = []
    for variant, person in sorted(found, key=lambda key: (key[0], key[1] == NOBODY, order[key[1]])):
        findings = found[variant, person]
        whole = images[variant] if person == NOBODY else len(findings)
        rows.append(_row(variant, person, findings, whole, tolerated, seed, baseline))
    return rows


def wilson(count: int, whole: int) -> tuple[float, float, float]:
    """A fraction with its 95 % interval (Wilson's), which is sound for few and for no cases too."""
    if not whole:
        return 0.0, 0.0, 1.0
    fraction = count / whole
    middle = (fraction + Z**2 / (2 * whole)) / (1 + Z**2 / whole)
    reach = Z * sqrt(fraction * (1 - fraction) / whole + Z**2 / (4 * whole**2)) / (1 + Z**2 / whole)
    return fraction, max(middle - reach, 0.0) if count else 0.0, min(middle + reach, 1.0)


def _row(
    variant: str,
    person: str,
    findings: Mapping[str, Finding],
    whole: int,
    tolerated: float,
    seed: int,
    baseline: Baseline | None,
) -> Row:
    counted = Counter(finding.name for finding in findings.values())
    counts = {name: counted[name] for name in NAMES if counted[name]}
    faults = wilson(sum(counts.get(name, 0) for name in FAULTS), whole)
    similarities = [findings[name].similarity for name in sorted(findings)]
    similarity = None if person == NOBODY else statistic(similarities, seed=seed, resamples=RESAMPLES)
    fails = faults[1] > tolerated
    if person == NOBODY and whole > len(findings):
        counts |= {"kept": whole - len(findings)}
    row = Row(variant, person, counts, faults, similarity, fails)
    earlier = None if baseline is None else baseline.of(variant, person)
    if earlier is None or person == NOBODY:
        return row
    return Row(variant, person, counts, faults, similarity, fails, tuple(_worse(findings, earlier, seed)))


def _worse(
    findings: Mapping[str, Finding], earlier: Mapping[str, tuple[float, float | None]], seed: int
) -> Iterable[str]:
    now = {name: (float(finding.is_fault), finding.similarity) for name, finding in findings.items()}
    for index, what in enumerate(("faults", "similarity")):
        sides = [{name: (name, values[index]) for name, values in side.items()} for side in (earlier, now)]
        change = difference_of(*sides, seed=seed, resamples=RESAMPLES)
        if change is None or change.interval is None:
            continue
        low, high = change.interval
        if (low > 0) if what == "faults" else (high < 0):
            yield f"{what} {change.mean:+.3f} [{low:+.3f}, {high:+.3f}] against the baseline"
