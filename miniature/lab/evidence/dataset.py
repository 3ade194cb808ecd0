"""Who is asked for where: people that nothing was trained on, in scenes that the world draws for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.identity import Face, Identity
from withanyone_core.regions.layout import Box, Layout, PlacedFace

from ...world.captions import caption
from ...world.person import person_of
from ...world.renderer import render
from ...world.scene import LAYOUTS, SIDE_PX, SPOTS, Scene, draw_scene
from ..recipes.scenes import TRAINING_PEOPLE
from ..steering import ImageRequest, PhotoReader, portrait

PEOPLE = 200
COUNTS = tuple(LAYOUTS)
ROWS_A_SERIES = 100_000
# Photos of one series are never those of another: what the adapter is shown is not what the judge knows people by.
REFERENCE_PHOTOS, GALLERY_PHOTOS, SECOND_PHOTOS, SERIES_A_SEED = 81, 82, 83, 1_000
PHOTOS_TRIED = 5
_SPOT_OF = {spot.name: spot for spot in SPOTS}


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to ask for.

    people  places among the dataset's people, in the order of the scene's
    row     in its series
    seed    of the noise
    """

    scene: Scene
    people: tuple[int, ...]
    row: int
    seed: int

    @property
    def caption(self) -> str:
        return caption(self.scene)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """What is asked for: the people's spots, as the presets offer them."""
        return spot_boxes(self.scene)

    @cached_property
    def truth(self) -> np.ndarray:
        """The scene as the renderer draws it, uint8 RGB [SIDE_PX, SIDE_PX, 3]: what the image should look like."""
        return render(self.scene, SIDE_PX, SIDE_PX).pixels


@dataclass(frozen=True)
class Dataset:
    """People first_person ... first_person + people - 1, and scenes of them by a seed. Both are free to choose.

    Raises ValueError for people who were trained on.
    """

    seed: int = 0
    first_person: int = TRAINING_PEOPLE
    people: int = PEOPLE

    def __post_init__(self) -> None:
        if self.seed < 0 or self.first_person < TRAINING_PEOPLE or self.people < max(COUNTS):
            raise ValueError(
                f"--seed {self.seed} --first-person {self.first_person} --people {self.people}: expected a seed of 0 "
                f"or more, a person of {TRAINING_PEOPLE} or more (models were trained on those below), and at least "
                f"{max(COUNTS)} people."
            )

    def sample(self, series: int, row: int, count: int) -> Sample:
        """The image of that row in a series for so many people. Everybody is asked for before anybody is again."""
        turns = self.people // count
        order = self.rng(series, count, row // turns).permutation(self.people)
        people = tuple(int(place) for place in order[row % turns * count :][:count])
        scene = draw_scene(self.rng(series, count, row, 1), [person_of(self.first_person + each) for each in people])
        return Sample(scene, people, row, ((self.seed * 10 + series) * ROWS_A_SERIES + row) * len(COUNTS) + count)

    def samples(self, series: int, rows: int) -> list[Sample]:
        """So many images for each number of people, the numbers taking turns."""
        return [self.sample(series, row, count) for row in range(rows) for count in COUNTS]

    def portrait(self, place: int, series: int, photo: int, side_px: int = SIDE_PX) -> np.ndarray:
        """A photo of one of the people, uint8 RGB [side, side, 3]."""
        return portrait(self.first_person + place, SERIES_A_SEED * self.seed + series, photo, side_px)

    def reference_photo(self, place: int, analysis: FaceAnalysis) -> np.ndarray:
        """The photo that the adapter is shown of one of the people: their first in which a face is found.

        Raises ValueError where there is none.
        """
        for photo in range(PHOTOS_TRIED):
            pixels = portrait(self.first_person + place, SERIES_A_SEED * self.seed + REFERENCE_PHOTOS, photo)
            if analysis.faces(pixels):
                return pixels
        raise ValueError(
            f"No face was found in {PHOTOS_TRIED} photos of person {self.first_person + place}; the detector is not "
            "what it was. Train it again: python miniature/lab/train.py detector."
        )

    def second_photos(self, sample: Sample) -> list[np.ndarray]:
        """Another photo of each of a sample's people than the one that the adapter is shown."""
        return [self.portrait(place, SECOND_PHOTOS, 0) for place in sample.people]

    def rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.first_person, *key])


class References:
    """The people as the adapter is shown them, each by one photo, made by the pack when first asked for."""

    def __init__(self, dataset: Dataset, reader: PhotoReader) -> None:
        self.dataset = dataset
        self._reader = reader
        self._made: dict[int, Identity] = {}

    def __getitem__(self, place: int) -> Identity:
        if place not in self._made:
            photo = self.dataset.reference_photo(place, self._reader.analysis)
            self._made[place] = self._reader.identity([photo], f"person {self.dataset.first_person + place}")
        return self._made[place]

    def request(self, sample: Sample, exchanged: bool = False, other_seed: int = 0) -> ImageRequest:
        """The sample as a wish; `exchanged` gives each of the people the next one's box."""
        boxes = (*sample.boxes[1:], sample.boxes[0]) if exchanged else sample.boxes
        return ImageRequest(
            sample.caption, sample.seed + other_seed, tuple(self[place] for place in sample.people), boxes
        )

    def placed(self, sample: Sample) -> tuple[PlacedFace, ...]:
        """The sample as Identity Meter gets it."""
        layout = Layout(sample.boxes, SIDE_PX, SIDE_PX)
        return tuple(
            PlacedFace(self[place], box, box_number=number, layout=layout)
            for number, (place, box) in enumerate(zip(sample.people, layout.boxes, strict=True), start=1)
        )


def spot_boxes(scene: Scene) -> tuple[Box, ...]:
    """The boxes of the spots in which a scene's people are, in their order."""
    return tuple(Box.from_px(*_SPOT_OF[placed.spot].box_px, SIDE_PX, SIDE_PX) for placed in scene.people)


def faces_in(boxes: Sequence[Box], faces: Sequence[Face]) -> list[list[Face]]:
    """For each box the faces whose middle lies in it."""
    found = []
    for left, top, right, bottom in (box.to_px(SIDE_PX, SIDE_PX) for box in boxes):
        middles = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in (face.box_px for face in faces)]
        inside = [left <= x < right and top <= y < bottom for x, y in middles]
        found.append([face for face, here in zip(faces, inside, strict=True) if here])
    return found
