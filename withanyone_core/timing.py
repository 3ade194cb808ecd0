"""When during the denoising something works, and how strongly."""

import math
from dataclasses import dataclass

SHAPES = ("linear", "ease in", "ease out", "ease in and out")


@dataclass(frozen=True)
class Window:
    """A part of the denoising, 0 (all noise) to 1 (done), as in ComfyUI's start and end percent."""

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.start <= 1.0 or not 0.0 <= self.end <= 1.0:
            raise ValueError(f"Start {self.start} and end {self.end} must be between 0 and 1.")

    @property
    def is_always(self) -> bool:
        return self.start <= 0.0 and self.end >= 1.0


ALWAYS = Window()


@dataclass(frozen=True)
class Curve:
    """A factor that moves from `first` where a window begins to `last` where it ends."""

    first: float = 1.0
    last: float = 1.0
    shape: str = SHAPES[0]

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"The curve '{self.shape}' is unknown; expected one of {', '.join(SHAPES)}.")
        if not (math.isfinite(self.first) and math.isfinite(self.last)):
            raise ValueError(f"The factors {self.first} and {self.last} must be finite numbers.")

    @property
    def is_one(self) -> bool:
        return self.first == self.last == 1.0

    def at(self, position: float) -> float:
        """The factor at `position`, 0 for the beginning to 1 for the end."""
        return self.first + (self.last - self.first) * _eased(position, self.shape)


CONSTANT = Curve()


def _eased(position: float, shape: str) -> float:
    if shape == "ease in":
        return position**2
    if shape == "ease out":
        return 1.0 - (1.0 - position) ** 2
    if shape == "ease in and out":
        # Smoothstep: its slope is 0 at both ends.
        return position**2 * (3.0 - 2.0 * position)
    return position
