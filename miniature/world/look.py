"""How somebody looks at one moment: all that varies apart from who it is."""

from dataclasses import dataclass

import numpy as np

EXPRESSIONS = ("calm", "happy", "sad", "surprised", "angry")
DIRECTIONS = ("left", "ahead", "right")
# What no caption says varies little: a small model can only average over it.
_YAWS = {"left": (-36.0, -27.0), "ahead": (-5.0, 5.0), "right": (27.0, 36.0)}
_TURNED = 15.0
_TILT = 4.0


@dataclass(frozen=True)
class Look:
    """Pose, expression and clothes.

    yaw: degrees, negative towards the viewer's left. pitch: degrees, positive looks up. roll: degrees, clockwise.
    expression: one of EXPRESSIONS. intensity: how strongly it shows, 0.9 to 1.
    clothes: 0 to 1, which garment out of all there are.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    expression: str = "calm"
    intensity: float = 1.0
    clothes: float = 0.0

    @property
    def direction(self) -> str:
        """Where the head points, one of DIRECTIONS, as the viewer sees it."""
        return "left" if self.yaw < -_TURNED else "right" if self.yaw > _TURNED else "ahead"


def draw_look(rng: np.random.Generator) -> Look:
    """A look at random; expressions and directions evenly."""
    return Look(
        yaw=float(rng.uniform(*_YAWS[DIRECTIONS[rng.integers(len(DIRECTIONS))]])),
        pitch=float(rng.uniform(-_TILT, _TILT)),
        roll=float(rng.uniform(-_TILT, _TILT)),
        expression=EXPRESSIONS[rng.integers(len(EXPRESSIONS))],
        intensity=float(rng.uniform(0.9, 1)),
        clothes=float(rng.random()),
    )
