"""What each expression does to eyes, brows and mouth."""

from dataclasses import astuple, dataclass
from functools import lru_cache

from .look import Look


@dataclass(frozen=True)
class Mood:
    """eyes: factor of the opening. raised: brows up, in head units. slant: inner ends of the brows up (1) or down (-1).
    smile: corners of the mouth up (1) or down (-1). gape: opening of the mouth, in head units, `above` of it upwards.
    wide: factor of the mouth's width. teeth: share of the opening that teeth fill.
    """

    eyes: float
    raised: float
    slant: float
    smile: float
    gape: float
    above: float
    wide: float
    teeth: float


_CALM = Mood(1.0, 0.0, 0.0, 0.2, 0.0, 0.0, 1.0, 0.0)
_MOODS = {
    "calm": _CALM,
    "happy": Mood(0.78, 0.03, 0.1, 1.0, 0.2, 0.0, 1.3, 0.4),
    "sad": Mood(0.78, 0.03, 1.0, -1.0, 0.0, 0.0, 0.85, 0.0),
    "surprised": Mood(1.35, 0.12, 0.15, 0.0, 0.3, 0.4, 0.62, 0.0),
    "angry": Mood(0.72, -0.07, -1.0, -0.7, 0.13, 0.3, 1.1, 0.9),
}


@lru_cache(maxsize=64)
def mood_of(look: Look) -> Mood:
    """The look's expression at its intensity, 0 being calm."""
    full = astuple(_MOODS[look.expression])
    return Mood(*(calm + look.intensity * (most - calm) for calm, most in zip(astuple(_CALM), full, strict=True)))
