"""Who stands where: backdrops, lights, and the few spots of the image that captions have names for.

A small model can only draw a face well where it knows that there is one. So an image of so many people has one of a
few layouts, the caption names each person's spot, and spots begin and end with FLUX's cells of 16 pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .look import Look, draw_look
from .person import Person

PLACES = ("park", "beach", "city", "room", "stage")
STUDIO = "studio"
LIGHTS = ("daylight", "sunset", "moonlight", "lamplight", "neon")
CELL_PX, CELLS = 16, 11
SIDE_PX = CELL_PX * CELLS
SPOT_CELLS = 5  # a spot's side
_FACE_PX, _FACE_SPREAD = 56.0, 0.03  # height of a face box, and how far it may differ, as a fraction
_WANDER_PX = 2.0
_HUES = 1 << 31


@dataclass(frozen=True)
class Spot:
    """A square of SPOT_CELLS x SPOT_CELLS cells that holds a head; `column` and `row` are its first cell."""

    name: str
    column: int
    row: int

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) in an image of SIDE_PX."""
        left, top = self.column * CELL_PX, self.row * CELL_PX
        return left, top, left + SPOT_CELLS * CELL_PX, top + SPOT_CELLS * CELL_PX

    @property
    def center_px(self) -> tuple[float, float]:
        """Middle of the face: a little below the spot's own, for hair takes the room above."""
        left, top, right, bottom = self.box_px
        return (left + right) / 2, (top + bottom) / 2 + 4


_LEFT, _MIDDLE, _RIGHT = Spot("left", 0, 2), Spot("middle", 3, 2), Spot("right", 6, 2)
_UPPER_LEFT, _UPPER_MIDDLE, _UPPER_RIGHT = (
    Spot("upper left", 0, 0),
    Spot("upper middle", 3, 0),
    Spot("upper right", 5, 0),
)
_LOWER_LEFT, _LOWER_RIGHT = Spot("lower left", 1, 6), Spot("lower right", 6, 6)
# No two spots of a layout have one column: from left to right the people of an image have one order.
LAYOUTS: dict[int, tuple[tuple[Spot, ...], ...]] = {
    1: ((_MIDDLE,), (_LEFT,), (_RIGHT,)),
    2: ((_LEFT, _RIGHT),),
    3: ((_UPPER_MIDDLE, _LOWER_LEFT, _LOWER_RIGHT),),
    4: ((_UPPER_LEFT, _UPPER_RIGHT, _LOWER_LEFT, _LOWER_RIGHT),),
}
SPOTS = tuple(dict.fromkeys(spot for layouts in LAYOUTS.values() for layout in layouts for spot in layout))


@dataclass(frozen=True)
class Placed:
    """A person in the image.

    center: of the face box, fractions (x, y) of the image. size: height of the box / shorter side of the image.
    spot: name of the spot, empty in portraits.
    """

    person: Person
    look: Look
    center: tuple[float, float]
    size: float
    spot: str = ""


@dataclass(frozen=True)
class Scene:
    """All that an image shows.

    place: one of PLACES or STUDIO. light: one of LIGHTS. backdrop_seed: what stands where in the place.
    """

    people: tuple[Placed, ...]
    place: str
    light: str
    backdrop_seed: int


def draw_scene(rng: np.random.Generator, persons: Sequence[Person]) -> Scene:
    """One to four persons in the spots of a layout, somewhere at random.

    Raises ValueError for any other number of persons.
    """
    if len(persons) not in LAYOUTS:
        raise ValueError(f"a scene has 1 to {max(LAYOUTS)} people, came {len(persons)}")
    layouts = LAYOUTS[len(persons)]
    layout = layouts[rng.integers(len(layouts))]
    people = tuple(_placed(rng, person, spot) for person, spot in zip(persons, layout, strict=True))
    return Scene(people, _one(rng, PLACES), _one(rng, LIGHTS), int(rng.integers(_HUES)))


def draw_portrait(rng: np.random.Generator, person: Person) -> Scene:
    """The person alone, filling the image, in any look and light, before a plain wall half of the time."""
    place = STUDIO if rng.random() < 0.5 else _one(rng, PLACES)
    center = (float(rng.uniform(0.46, 0.54)), float(rng.uniform(0.5, 0.54)))
    placed = Placed(person, draw_look(rng), center, float(rng.uniform(0.46, 0.58)))
    return Scene((placed,), place, _one(rng, LIGHTS), int(rng.integers(_HUES)))


def _placed(rng: np.random.Generator, person: Person, spot: Spot) -> Placed:
    x, y = spot.center_px + rng.uniform(-_WANDER_PX, _WANDER_PX, 2)
    size = _FACE_PX * rng.uniform(1 - _FACE_SPREAD, 1 + _FACE_SPREAD) / SIDE_PX
    return Placed(person, draw_look(rng), (float(x / SIDE_PX), float(y / SIDE_PX)), float(size), spot.name)


def _one(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[rng.integers(len(names))]
