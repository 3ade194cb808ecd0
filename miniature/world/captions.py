"""What an image shows, in few words: how many people, where, in what light; each one's spot, expression, direction."""

import re
from dataclasses import dataclass

from .look import DIRECTIONS, EXPRESSIONS
from .scene import LAYOUTS, LIGHTS, PLACES, SPOTS, STUDIO, Placed, Scene

_COUNTS = ("one person", "two people", "three people", "four people")
_WORD = re.compile("[a-z]+")


@dataclass(frozen=True)
class Omitted:
    """What a caption does not say: anybody's expression, anybody's direction, or anything of the people at all."""

    expressions: bool = False
    directions: bool = False
    people: bool = False


NOTHING_OMITTED = Omitted()
SILENT = Omitted(expressions=True, directions=True)


def words(caption: str) -> list[str]:
    """The caption's words in lower case; punctuation is for people and is no token."""
    return _WORD.findall(caption.lower())


def caption(scene: Scene, omitted: Omitted = NOTHING_OMITTED) -> str:
    """e.g. "two people, park, sunset: left happy right, right calm ahead"."""
    head = f"{_COUNTS[len(scene.people) - 1]}, {scene.place}, {scene.light}"
    if omitted.people:
        return head
    phrases = [_phrase(placed, omitted) for placed in scene.people]
    return f"{head}: {', '.join(phrases)}"


def _phrase(placed: Placed, omitted: Omitted) -> str:
    parts = [placed.spot]
    if not omitted.expressions:
        parts.append(placed.look.expression)
    if not omitted.directions:
        parts.append(placed.look.direction)
    return " ".join(part for part in parts if part)


WORDS = tuple(
    sorted(
        {
            word
            for text in (*_COUNTS, *PLACES, STUDIO, *LIGHTS, *EXPRESSIONS, *DIRECTIONS, *(spot.name for spot in SPOTS))
            for word in words(text)
        }
    )
)
MOST_WORDS = 4 + max(LAYOUTS) * 4
