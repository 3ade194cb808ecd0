"""How somebody looks at one moment: all that varies apart from who it is."""

from dataclasses import dataclass

import numpy as np

EXPRESSIONS = ("calm", "happy", "sad", "surprised", "angry")
DIRECTIONS = ("left", "ahead", "right")
_YAWS = {"left": (-38.0, -22.0), "ahead": (-9.0, 9.0), "right": (22.0, 38.0)}
_TURNED = 15.0


@dataclass(frozen=True)
class Look:
    """Pose, mood and what is worn.

    yaw: degrees, negative towards the viewer's left. pitch: degrees, positive looks up. roll: degrees, clockwise.
    expression: one of EXPRESSIONS. intensity: how strongly it shows, 0.7 to 1.
    clothes, wear: 0 to 1, which garment and which glasses and hat out of all there are. gaze: -1 to 1, sideways.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    expression: str = "calm"
    intensity: float = 1.0
    glasses: bool = False
    hat: bool = False
    clothes: float = 0.0
    wear: float = 0.0
    gaze: float = 0.0

    @property
    def direction(self) -> str:
        """Where the head points, one of DIRECTIONS, as the viewer sees it."""
        return "left" if self.yaw < -_TURNED else "right" if self.yaw > _TURNED else "ahead"


def draw_look(rng: np.random.Generator) -> Look:
    """A look at random; glasses and hat with three in ten each, expressions and directions evenly."""
    return Look(
        yaw=float(rng.uniform(*_YAWS[DIRECTIONS[rng.integers(len(DIRECTIONS))]])),
        pitch=float(rng.uniform(-9, 9)),
        roll=float(rng.uniform(-7, 7)),
        expression=EXPRESSIONS[rng.integers(len(EXPRESSIONS))],
        intensity=float(rng.uniform(0.75, 1)),
        glasses=bool(rng.random() < 0.3),
        hat=bool(rng.random() < 0.3),
        clothes=float(rng.random()),
        wear=float(rng.random()),
        gaze=float(rng.uniform(-1, 1)),
    )
