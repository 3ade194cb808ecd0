"""Who stands where: places, lights and layouts in which every face stays large enough to be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .head import Head
from .look import Look, draw_look
from .person import Person

PLACES = ("park", "beach", "city", "room", "stage")
STUDIO = "studio"
LIGHTS = ("daylight", "sunset", "moonlight", "lamplight", "neon")
COLUMNS = 5
_LEAST_HEIGHT = 61 / 160  # the narrowest face is then 51 wide
_HUES = 1 << 31


@dataclass(frozen=True)
class Placed:
    """A person in the picture.

    centre: of the face box, fractions (x, y) of the picture. size: height of the box / shorter side of the picture.
    """

    person: Person
    look: Look
    centre: tuple[float, float]
    size: float


@dataclass(frozen=True)
class Scene:
    """All that a picture shows.

    place: one of PLACES or STUDIO. light: one of LIGHTS. backdrop_seed: what stands where in the place.
    """

    people: tuple[Placed, ...]
    place: str
    light: str
    backdrop_seed: int


# (x, y) of each face box's centre, how far each may wander from it, and the range of sizes.
_LAYOUTS = {
    1: ([((0.5, 0.47),)], (0.12, 0.05), (0.40, 0.59)),
    2: (
        [((0.27, 0.5), (0.73, 0.5)), ((0.27, 0.42), (0.73, 0.55)), ((0.27, 0.55), (0.73, 0.42))],
        (0.025, 0.04),
        (0.39, 0.45),
    ),
    3: (
        [((0.26, 0.77), (0.5, 0.27), (0.74, 0.77)), ((0.26, 0.275), (0.5, 0.775), (0.74, 0.275))],
        (0.025, 0.012),
        (0.385, 0.42),
    ),
    4: ([((0.27, 0.275), (0.73, 0.275), (0.27, 0.785), (0.73, 0.785))], (0.03, 0.01), (0.385, 0.40)),
}
_WIDEST = {1: 0.7, 2: 0.44, 3: 0.44, 4: 0.44}


def draw_scene(rng: np.random.Generator, persons: Sequence[Person]) -> Scene:
    """One to four persons somewhere at random, each face at least 50 x 60 px of a picture of 160 x 160.

    Raises ValueError for any other number of persons.
    """
    if len(persons) not in _LAYOUTS:
        raise ValueError(f"a scene has 1 to 4 people, came {len(persons)}")
    layouts, (wander_x, wander_y), sizes = _LAYOUTS[len(persons)]
    people = []
    for person, (x, y) in zip(persons, layouts[rng.integers(len(layouts))], strict=True):
        centre = (float(x + rng.uniform(-wander_x, wander_x)), float(y + rng.uniform(-wander_y, wander_y)))
        look = draw_look(rng)
        people.append(Placed(person, look, centre, _size(Head(person, look), rng.uniform(*sizes), len(persons))))
    return Scene(tuple(people), _one(rng, PLACES), _one(rng, LIGHTS), int(rng.integers(_HUES)))


def draw_portrait(rng: np.random.Generator, person: Person) -> Scene:
    """The person alone, filling the picture, in any look and light, before a plain wall half of the time."""
    place = STUDIO if rng.random() < 0.5 else _one(rng, PLACES)
    centre = (float(rng.uniform(0.46, 0.54)), float(rng.uniform(0.48, 0.54)))
    placed = Placed(person, draw_look(rng), centre, float(rng.uniform(0.46, 0.58)))
    return Scene((placed,), place, _one(rng, LIGHTS), int(rng.integers(_HUES)))


def _size(head: Head, wanted: float, count: int) -> float:
    return float(max(_LEAST_HEIGHT, min(wanted, _WIDEST[count] / head.aspect)))


def _one(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[rng.integers(len(names))]
