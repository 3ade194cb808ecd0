"""Who is asked for where: people whom nothing was trained on, in scenes that the world draws for them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from withanyone_core.faces.portrait import FaceAnalysis
from withanyone_core.identity import Identity
from withanyone_core.layout import Box, Layout, PlacedFace

from ..recipes.scenes import SIZE_PX, TRAINING_PEOPLE
from ..steering import PhotoReader, Wanted, portrait
from ..world.captions import caption
from ..world.person import person_of
from ..world.renderer import render, seen_faces
from ..world.scene import Scene, draw_scene

SEED = 8_000
PEOPLE = 200
COUNTS = (1, 2, 3, 4)
ROWS_A_SERIES = 100_000
# Photos of one series are never those of another: what the adapter is shown is not what the judge knows people by.
REFERENCE_PHOTOS, GALLERY_PHOTOS, SECOND_PHOTOS = 81, 82, 83
PHOTOS_TRIED = 5


@dataclass(frozen=True, eq=False)
class Cast:
    """A picture to ask for.

    people  places among the PEOPLE, in the order of the scene's
    seed    of the noise
    """

    scene: Scene
    people: tuple[int, ...]
    seed: int

    @property
    def caption(self) -> str:
        return caption(self.scene)

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """Where the scene has its faces."""
        return tuple(Box(*map(float, face.box)).clamped() for face in seen_faces(self.scene, SIZE_PX, SIZE_PX))

    @cached_property
    def drawn(self) -> np.ndarray:
        """The scene as the renderer draws it, uint8 RGB [160, 160, 3]: what the asked picture should look like."""
        return render(self.scene, SIZE_PX, SIZE_PX).pixels


def cast(series: int, row: int, count: int) -> Cast:
    """The picture of that number in a series for so many people. All PEOPLE take their turn before one comes again."""
    turns = PEOPLE // count
    order = np.random.default_rng([SEED, series, count, row // turns]).permutation(PEOPLE)
    people = tuple(int(place) for place in order[row % turns * count :][:count])
    rng = np.random.default_rng([SEED, series, count, row, 1])
    scene = draw_scene(rng, [person_of(TRAINING_PEOPLE + place) for place in people])
    return Cast(scene, people, (series * ROWS_A_SERIES + row) * len(COUNTS) + count)


def casts(series: int, pictures: int) -> list[Cast]:
    """So many pictures for each number of people, the numbers taking turns."""
    return [cast(series, row, count) for row in range(pictures) for count in COUNTS]


class References:
    """The people as the adapter is shown them, each by one photo, made by the pack when first asked for."""

    def __init__(self, reader: PhotoReader) -> None:
        self._reader = reader
        self._made: dict[int, Identity] = {}

    def __getitem__(self, place: int) -> Identity:
        if place not in self._made:
            photo = reference_photo(place, self._reader.analysis)
            self._made[place] = self._reader.identity([photo], f"person {TRAINING_PEOPLE + place}")
        return self._made[place]

    def wanted(self, cast: Cast, exchanged: bool = False, other_seed: int = 0) -> Wanted:
        """The cast as a wish; `exchanged` gives each of the people the next one's box."""
        boxes = (*cast.boxes[1:], cast.boxes[0]) if exchanged else cast.boxes
        return Wanted(cast.caption, cast.seed + other_seed, tuple(self[place] for place in cast.people), boxes)

    def placed(self, cast: Cast) -> tuple[PlacedFace, ...]:
        """The cast as Identity Meter is told of it."""
        layout = Layout(cast.boxes, SIZE_PX, SIZE_PX)
        return tuple(
            PlacedFace(self[place], box, box_number=number, layout=layout)
            for number, (place, box) in enumerate(zip(cast.people, layout.boxes, strict=True), start=1)
        )


def reference_photo(place: int, analysis: FaceAnalysis) -> np.ndarray:
    """The photo the adapter is shown of one of the PEOPLE: their first in which a face is found.

    Raises ValueError where there is none.
    """
    for photo in range(PHOTOS_TRIED):
        pixels = portrait(TRAINING_PEOPLE + place, REFERENCE_PHOTOS, photo)
        if analysis.faces(pixels):
            return pixels
    raise ValueError(
        f"No face was found in {PHOTOS_TRIED} photos of person {TRAINING_PEOPLE + place}; the detector is not what it "
        "was. Train it again: python miniature/train.py detector."
    )


def second_photos(cast: Cast) -> list[np.ndarray]:
    """Another photo of each of a cast's people than the one that the adapter is shown."""
    return [portrait(TRAINING_PEOPLE + place, SECOND_PHOTOS, 0) for place in cast.people]
