"""A person's weight between two bounds, halved towards what is asked."""

from dataclasses import dataclass, replace

SETTLED = 0.02  # a smaller change of a weight is not worth a draw


@dataclass(frozen=True)
class Bracket:
    """What is known of a weight: it lies between `lowest` and `highest`, and `weight` is tried."""

    lowest: float
    highest: float
    weight: float
    is_settled: bool = False

    def step(self, direction: int) -> "Bracket":
        """Halfway to the bound in a direction, 1 up or -1 down; 0 leaves the weight where it is."""
        if not direction:
            return replace(self, is_settled=True)
        start = min(max(self.weight, self.lowest), self.highest)
        lowest, highest = (start, self.highest) if direction > 0 else (self.lowest, start)
        weight = (lowest + highest) / 2
        return Bracket(lowest, highest, weight, abs(weight - self.weight) < SETTLED)
