"""What a picture shows, in few words: how many people, where, in what light; each one's mood, direction and wear."""

import re

from .look import DIRECTIONS, EXPRESSIONS, Look
from .scene import COLUMNS, LIGHTS, PLACES, STUDIO, Placed, Scene

MOST_WORDS = 31
_COUNTS = ("one person", "two people", "three people", "four people")
_WHERE = {place: f"in a {place}" for place in (*PLACES, STUDIO)} | {"beach": "on a beach", "stage": "on a stage"}
_WEAR = {(True, True): "hat and glasses", (True, False): "hat", (False, True): "glasses"}
_TOKEN = re.compile(r"[a-z]+|[^\sa-z]")


def words(caption: str) -> list[str]:
    """The caption's tokens in lower case: each word and each punctuation mark."""
    return _TOKEN.findall(caption.lower())


def reading_order(people: tuple[Placed, ...]) -> list[int]:
    """Places in `people` in the order a caption names them: left to right, one above the other from top to bottom."""
    return sorted(range(len(people)), key=lambda i: (int(people[i].centre[0] * COLUMNS), people[i].centre[1]))


def caption(scene: Scene) -> str:
    """e.g. "two people in a park, sunset: happy left with glasses, calm ahead"; at most MOST_WORDS tokens."""
    looks = [scene.people[i].look for i in reading_order(scene.people)]
    head = f"{_COUNTS[len(looks) - 1]} {_WHERE[scene.place]}, {scene.light}: "
    full = head + ", ".join(_phrase(look, "with ") for look in looks)
    if len(words(full)) <= MOST_WORDS:
        return full
    return head + ", ".join(_phrase(look, "") for look in looks)


def _phrase(look: Look, joint: str) -> str:
    wear = _WEAR.get((look.hat, look.glasses))
    return f"{look.expression} {look.direction}" + (f" {joint}{wear}" if wear else "")


WORDS = tuple(
    sorted(
        {
            word
            for text in (*_COUNTS, *_WHERE.values(), *LIGHTS, *EXPRESSIONS, *DIRECTIONS, *_WEAR.values(), "with , :")
            for word in words(text)
        }
    )
)
