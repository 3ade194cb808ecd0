"""Folders of photos of the same few people that differ in what the dataset doctor looks at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...world.person import person_of
from ...world.scene import Scene, draw_portrait, draw_scene
from ..recipes.photos import Photo, person_name, photo_of, write_photo

SEED = 52_000
POSE = ("yaw", "pitch", "roll")
EXPRESSION = ("expression", "intensity")
WEAR = ("clothes",)
_SHAKE = 0.02  # of the image: how far the camera moves between two shots of one moment
_NOD = 1.5  # degrees, by which a pose that is kept still differs


@dataclass(frozen=True)
class Habit:
    """How somebody takes photos of each person.

    photos     of each person; those after the first `moments` are further shots of the same moments
    one_pose   the head is always turned as in the first photo
    one_expression   the expression is always that of the first photo
    one_place  place, light and clothes are always those of the first photo
    """

    name: str
    photos: int
    moments: int
    one_pose: bool = False
    one_expression: bool = False
    one_place: bool = False

    @property
    def words(self) -> str:
        kept = {"pose": self.one_pose, "expression": self.one_expression, "place, light and clothes": self.one_place}
        alike = [f"one {name}" for name, is_one in kept.items() if is_one]
        shots = "" if self.moments == self.photos else f" of {self.moments} moment{'s' * (self.moments > 1)}"
        return f"{self.photos} photos{shots}{', ' * bool(alike)}{', '.join(alike)}"


HABITS = (
    Habit("varied_16", 16, 16),
    Habit("varied_8", 8, 8),
    Habit("varied_4", 4, 4),
    Habit("varied_2", 2, 2),
    Habit("pose_16", 16, 16, one_pose=True),
    Habit("expression_16", 16, 16, one_expression=True),
    Habit("place_16", 16, 16, one_place=True),
    Habit("pose_expression_16", 16, 16, one_pose=True, one_expression=True),
    Habit("session_16", 16, 16, one_pose=True, one_expression=True, one_place=True),
    Habit("session_4", 4, 4, one_pose=True, one_expression=True, one_place=True),
    Habit("session_2", 2, 2, one_pose=True, one_expression=True, one_place=True),
    Habit("shots_16_of_8", 16, 8),
    Habit("shots_16_of_4", 16, 4),
    Habit("shots_16_of_2", 16, 2),
    Habit("burst_8", 8, 1),
)


def write_set(habit: Habit, people: Sequence[int], folder: Path) -> None:
    """Renders the photos that the folder lacks."""
    for person in people:
        for photo in photos_of(habit, person):
            if not (folder / f"{photo.name}.png").is_file():
                write_photo(photo, folder)


def photos_of(habit: Habit, person: int) -> Iterator[Photo]:
    for number in range(habit.photos):
        scene = scene_of(habit, person, number)
        yield photo_of(f"identities/{person_name(person)}/{number:02d}", scene)


def first_scene(person: int) -> Scene:
    """Of the first photo, which is the same by every habit."""
    return _moment(person, 0)


def scene_of(habit: Habit, person: int, number: int) -> Scene:
    """Of a person's numbered photo."""
    moment, shot = number % habit.moments, number // habit.moments
    scene = _moment(person, moment)
    if moment:
        scene = _kept(habit, scene, first_scene(person), np.random.default_rng([SEED, 1, person, moment]))
    return _shaken(scene, np.random.default_rng([SEED, 2, person, number])) if shot else scene


def target_scene(person: int, number: int) -> Scene:
    """What nobody has photographed: the person somewhere, somehow."""
    return draw_scene(np.random.default_rng([SEED, 3, person, number]), [person_of(person)])


def _moment(person: int, moment: int) -> Scene:
    """In the open and close up by turns, as `photos.portrait` draws people."""
    rng = np.random.default_rng([SEED, 0, person, moment])
    return draw_portrait(rng, person_of(person)) if moment % 2 else draw_scene(rng, [person_of(person)])


def _kept(habit: Habit, scene: Scene, first: Scene, rng: np.random.Generator) -> Scene:
    """The scene with everything that the habit never changes taken from the first."""
    (placed,), (before,) = scene.people, first.people
    names = POSE * habit.one_pose + EXPRESSION * habit.one_expression + WEAR * habit.one_place
    same = {name: getattr(before.look, name) for name in names}
    if habit.one_pose:
        same |= {name: same[name] + float(rng.uniform(-_NOD, _NOD)) for name in POSE}
    scene = replace(scene, people=(replace(placed, look=replace(placed.look, **same)),))
    if habit.one_place:
        scene = replace(scene, place=first.place, light=first.light, backdrop_seed=first.backdrop_seed)
    return scene


def _shaken(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same moment a second later."""
    (placed,) = scene.people
    x, y = (float(value + rng.uniform(-_SHAKE, _SHAKE)) for value in placed.center)
    size = placed.size * float(1 + rng.uniform(-_SHAKE, _SHAKE))
    look = replace(placed.look, yaw=placed.look.yaw + float(rng.uniform(-_NOD, _NOD)))
    return replace(scene, people=(replace(placed, look=look, center=(x, y), size=size),))
