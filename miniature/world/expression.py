"""What each expression does to eyes, brows and mouth."""

from dataclasses import astuple, dataclass
from functools import lru_cache

from .look import Look


@dataclass(frozen=True)
class Expression:
    """eyes: factor of the opening. raised: brows up, in head units. slant: inner ends of the brows up (1) or down (-1).
    smile: corners of the mouth up (1) or down (-1). gape: opening of the mouth, in head units, `above` of it upwards.
    wide: factor of the mouth's width. teeth: fraction of the opening that teeth fill.
    """

    eyes: float
    raised: float
    slant: float
    smile: float
    gape: float
    above: float
    wide: float
    teeth: float


_CALM = Expression(1.0, 0.0, 0.0, 0.15, 0.0, 0.0, 1.0, 0.0)
_EXPRESSIONS = {
    "calm": _CALM,
    "happy": Expression(0.85, 0.04, 0.1, 1.25, 0.26, 0.0, 1.35, 0.4),
    "sad": Expression(0.75, 0.04, 1.3, -1.5, 0.0, 0.0, 1.05, 0.0),
    "surprised": Expression(1.3, 0.14, 0.15, 0.0, 0.42, 0.4, 0.72, 0.0),
    "angry": Expression(0.7, -0.06, -1.3, -0.8, 0.18, 0.3, 1.2, 0.9),
}


@lru_cache(maxsize=64)
def expression_of(look: Look) -> Expression:
    """The look's expression at its intensity, 0 being calm."""
    full = astuple(_EXPRESSIONS[look.expression])
    return Expression(*(calm + look.intensity * (most - calm) for calm, most in zip(astuple(_CALM), full, strict=True)))
