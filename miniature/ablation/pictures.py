"""Pictures to be painted of people who were never trained on, and what the judge says of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from withanyone_core.adapter.shape import Branch
from withanyone_core.faces.portrait import Choices, FaceAnalysis, identity_from_photos
from withanyone_core.layout import Box
from withanyone_core.metrics.case import BoxPx, Case, FaceVectors
from withanyone_core.metrics.judges import Judge
from withanyone_core.metrics.scoring import score_case

from ..recipes.scenes import SIZE_PX, TRAINING_PEOPLE
from ..steering import PhotoReader, SteeredPainter, Wanted, portrait
from ..world.captions import caption
from ..world.person import person_of
from ..world.renderer import render
from ..world.scene import Scene, draw_scene

FIRST_PERSON = TRAINING_PEOPLE + 300_000  # of people kept for evidence
SEED = 41_000
PORTRAITS = 3  # of each person, of which the first with a face is the reference
MEASURES = ("sim_gt", "sim_ref", "copy_paste", "found")
_DIGITS = 5

Scores = dict[str, list[float | None]]  # by MEASURES a number a picture, None where there is none
Photos = Callable[[int], Sequence[np.ndarray]]  # of a person, by number


@dataclass(frozen=True, eq=False)
class Asked:
    """A picture to be painted, and what it is compared with, as the judge sees it.

    scene       the truth, drawn by the renderer; the caption and the boxes are its own
    references  one face a person
    """

    name: str
    scene: Scene
    wanted: Wanted
    truth: FaceVectors
    references: tuple[FaceVectors, ...]
    boxes_px: tuple[BoxPx, ...]


@dataclass(frozen=True, eq=False)
class Test:
    """All pictures asked for. `digest` changes with any of their pixels and words."""

    asked: tuple[Asked, ...]
    digest: str

    @property
    def alike(self) -> list[float | None]:
        """Cosine of truth and reference, a picture's mean: what a perfect painter's Sim(Ref) would be."""
        return _rounded(
            [_mean([item.sim_tr for item in score_case(_case(each, each.truth)).identities]) for each in self.asked]
        )


def strangers(pictures: int, reader: PhotoReader, judge: Judge) -> Test:
    """So many pictures, of one and of two people by turns, each of people who are in no other."""
    scenes = []
    for number in range(pictures):
        rng = np.random.default_rng([SEED, number])
        people = [FIRST_PERSON + 2 * number + place for place in range(1 + number % 2)]
        scenes.append((people, draw_scene(rng, [person_of(person) for person in people])))
    return asked_for(scenes, lambda person: [portrait(person, SEED, shot) for shot in range(PORTRAITS)], reader, judge)


def asked_for(scenes: Sequence[tuple[Sequence[int], Scene]], photos: Photos, reader: PhotoReader, judge: Judge) -> Test:
    """Scenes of numbered people, to be painted by references from their photos.

    Raises ValueError where none of a person's photos shows a face.
    """
    sight = _Sight(reader.analysis, judge)
    asked, contents = [], sha256()
    for number, (people, scene) in enumerate(scenes):
        truth = render(scene, SIZE_PX, SIZE_PX)
        identities, references = [], []
        for person in people:
            choices = Choices(no_face="skip")
            made, used = identity_from_photos(
                photos(person), reader.analysis, f"person {person}", choices, reader.encode
            )
            identities.append(made)
            references.append(FaceVectors.of([used[0].face], judge.embed(used[0].photo, [used[0].face])))
            contents.update(used[0].photo.tobytes())
        words = caption(scene)
        contents.update(truth.pixels.tobytes() + words.encode())
        boxes = tuple(Box(*face.box) for face in truth.faces)
        asked.append(
            Asked(
                f"{number:04d}",
                scene,
                Wanted(words, SEED + number, tuple(identities), boxes),
                sight(truth.pixels),
                tuple(references),
                tuple(box.to_px(SIZE_PX, SIZE_PX) for box in boxes),
            )
        )
    return Test(tuple(asked), contents.hexdigest())


def painted_scores(
    painter: SteeredPainter, test: Test, weights: Mapping[Branch, float], steps: int, reader: PhotoReader, judge: Judge
) -> Scores:
    """The test painted with these weights of the branches, and measured."""
    pictures = painter.paint([each.wanted for each in test.asked], weights=weights, steps=steps)
    sight = _Sight(reader.analysis, judge)
    return scores_of(test, [sight(pixels) for pixels in pictures])


def scores_of(test: Test, generated: Sequence[FaceVectors]) -> Scores:
    """By measure a number a picture. A person who was lost counts as 0 in similarities and in nothing else."""
    scores = [score_case(_case(each, faces)) for each, faces in zip(test.asked, generated, strict=True)]
    values = {measure: [score.value(measure) for score in scores] for measure in MEASURES[:-1]}
    values["found"] = [score.found / score.expected for score in scores]
    return {measure: _rounded(each) for measure, each in values.items()}


@dataclass(frozen=True, eq=False)
class _Sight:
    """All faces of a picture [H, W, 3] as the judge sees them."""

    analysis: FaceAnalysis
    judge: Judge

    def __call__(self, pixels: np.ndarray) -> FaceVectors:
        faces = self.analysis.faces(pixels)
        return FaceVectors.of(faces, self.judge.embed(pixels, faces))


def _case(asked: Asked, generated: FaceVectors) -> Case:
    return Case(
        asked.name,
        generated,
        asked.truth,
        asked.references,
        boxes_px=asked.boxes_px,
        truth_boxes_px=asked.boxes_px,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, _DIGITS) for value in values]
