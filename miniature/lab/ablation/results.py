"""Lines of results to what a report says of each variant."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training.evaluation.records import Line

from .estimates import Estimate, Runs, difference, estimate
from .variants import START, TITLES


@dataclass(frozen=True, eq=False)
class Results:
    """The lines that may be compared with each other.

    lines    by variant, those of its seeds
    left_out  lines of other settings, models, data or images
    """

    lines: Mapping[str, tuple[Line, ...]]
    left_out: int

    @property
    def variants(self) -> list[str]:
        """Those with a line, in the order in which they build on each other."""
        return [name for name in TITLES if self.lines.get(name)]

    @property
    def any(self) -> Line:
        return next(iter(self.lines.values()))[0]

    @property
    def sliders(self) -> list[float]:
        return [row["slider"] for row in self.any["rows"]]

    def seeds(self, variant: str) -> list[int]:
        return sorted(line["seed"] for line in self.lines.get(variant, ()))

    def runs(self, variant: str, metric: str, slider: float | None = None) -> Runs:
        """By seed a number an image, at the slider's usual value where none is named."""
        found = {}
        for line in self.lines.get(variant, ()):
            wanted = line["usual"] if slider is None else slider
            rows = [row for row in line["rows"] if row["slider"] == wanted]
            if rows:
                found[line["seed"]] = rows[0][metric]
        return found

    def estimate(self, variant: str, metric: str, slider: float | None = None) -> Estimate | None:
        runs = self.runs(variant, metric, slider)
        return estimate(runs) if runs else None

    def change(self, without: str, with_it: str, metric: str) -> Estimate | None:
        """What a part brings, at the slider's usual value."""
        return difference(self.runs(without, metric), self.runs(with_it, metric))


def results_of(lines: Iterable[Line], common: str | None = None) -> Results:
    """The lines of `common`, or of what most lines have in common. Raises ValueError where there are none."""
    lines = list(lines)
    if common is None:
        counted = Counter(line["common"] for line in lines if line["variant"] != START)
        common = counted.most_common(1)[0][0] if counted else None
    kept = [line for line in lines if line["common"] == common]
    if not kept:
        raise ValueError("There are no results to report yet: no adapter has been trained and measured.")
    by_variant = {name: tuple(line for line in kept if line["variant"] == name) for name in TITLES}
    return Results({name: found for name, found in by_variant.items() if found}, len(lines) - len(kept))
