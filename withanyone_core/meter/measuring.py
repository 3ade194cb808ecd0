"""A batch of generated images, and who should be where in them, to scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..canvas import BoxPx
from ..faces.face_analysis import FaceAnalysis
from ..faces.licences import parts_of
from ..identity import Face, Identity
from ..identity_check.values import Checked
from ..metrics.building import CaseImages, DetectedImage, build_case, detect, detect_reference
from ..metrics.cache import photo_key
from ..metrics.case import Case, CaseScores, FaceEmbeddings, JudgeInfo
from ..metrics.judges import judge_of
from ..metrics.scoring import score_case
from ..regions.layout import Box, Mask, PlacedFace, stretching
from ..tolerance import SLACK
from .diagnosing import Diagnoser

Photo = np.ndarray


@dataclass(frozen=True, eq=False)
class Measured:
    """The scores of one batch.

    scores     one an image, in their order
    people     what each identity is called: number, from 1, and name
    judge      whose embeddings they are
    against    what Sim(GT) compares with, readable; empty where there is nothing
    boxes_px   [image][identity] box of the face that was taken for somebody, None where there was none
    notes      about everything but single images, readable
    checked    what became of each person, one an image; empty where nobody could be compared
    licences   the models that took part, each with its licence
    """

    scores: tuple[CaseScores, ...]
    people: tuple[str, ...]
    judge: JudgeInfo
    against: str
    boxes_px: tuple[tuple[BoxPx | None, ...], ...]
    notes: tuple[str, ...] = ()
    checked: tuple[Checked, ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)


class Meter:
    """Measures batches against the same people. Every image is looked at once, however often it is asked about."""

    def __init__(
        self,
        placed: Sequence[PlacedFace],
        analysis: FaceAnalysis,
        truth: Sequence[Photo] = (),
        second_photos: Sequence[Photo] = (),
        looked: Callable[[], None] = lambda: None,
        identities: Sequence[Identity] = (),
    ) -> None:
        """Photos are RGB [H, W, 3] uint8.

        truth          one ground-truth image for all, or one for each image that will be measured
        second_photos  another photo of each person, in the order of the people, in place of a ground truth
        looked         called after each image that was looked at
        identities     people who may be anywhere, after those who are placed; with them similarity says who is who

        Raises ValueError where nobody is expected, or the photos are not as many as they should be.
        """
        self._placed = tuple(face for face in placed if face.weight > 0)
        self._identities = (*(face.identity for face in self._placed), *identities)
        self._is_placed = not identities
        self._analysis, self._looked = analysis, looked
        self._truth = tuple(truth)
        self._seen: dict[str, tuple[Face, ...]] = {}
        self._check(second_photos)
        self.judge = judge_of(analysis)
        self.people = tuple(
            f"{number} {' '.join(identity.name.split())}".strip()
            for number, identity in enumerate(self._identities, start=1)
        )
        self._notes: list[str] = []
        self._references = tuple(self._reference(identity) for identity in self._identities)
        self._second = self._one_image_of(second_photos)
        places = (*(_box_of(face) for face in self._placed), *(None for _ in identities))
        embeddings = [self._photos(*pair) for pair in zip(self._identities, self._references, strict=True)]
        people = dict(zip(self.people, zip(embeddings, places, strict=True), strict=True))
        self._diagnoser = Diagnoser(people, self.judge.name)

    def _check(self, second_photos: Sequence[Photo]) -> None:
        if not self._identities:
            raise ValueError(
                "Nobody is expected: no face is placed, or all have the weight 0. Connect the faces of the last Place "
                "Face of the chain, or people to identity."
            )
        if self._truth and len(second_photos):
            raise ValueError(
                "Both truth and second_photos are connected; an image is compared with one of them. Connect truth "
                "where an image shows all of the people together, else second_photos."
            )
        if len(second_photos) not in (0, len(self._identities)):
            raise ValueError(
                f"second_photos holds {len(second_photos)} photos for {len(self._identities)} people; expected one of "
                "each, in the order in which the people are placed."
            )

    def measure(self, images: Sequence[Photo], input_name: str = "images") -> Measured:
        """The scores of a batch of images.

        Raises ValueError where the ground truths are neither one nor as many as the images, and for face embeddings
        that are NaN or have no direction.
        """
        if len(self._truth) not in (0, 1, len(images)):
            raise ValueError(
                f"truth holds {len(self._truth)} images and {input_name} {len(images)}; expected one truth for "
                "all, or one for each image."
            )
        cases = [self._case(index, image) for index, image in enumerate(images)]
        scores = tuple(score_case(case) for case in cases)
        against = "truth" if self._truth else "second photos" if self._second else ""
        notes = (*self._notes, *self._aspect_notes(images, input_name))
        boxes_px = tuple(_taken(score, case) for score, case in zip(scores, cases, strict=True))
        checked = [self._checked(case, image) for case, image in zip(cases, images, strict=True)]
        known = tuple(each for each in checked if each is not None)
        return Measured(scores, self.people, self.judge, against, boxes_px, notes, known, parts_of(self._analysis))

    def _checked(self, case: Case, image: Photo) -> Checked | None:
        return self._diagnoser.check(case.name, case.generated, (image.shape[1], image.shape[0]))

    def _case(self, index: int, image: Photo) -> Case:
        truth, truth_boxes_px = (None, None) if self._second is None else self._second
        if self._truth:
            truth = self._detected(self._truth[index if len(self._truth) > 1 else 0])
        images = CaseImages(
            name=f"image {index + 1}",
            generated=self._detected(image),
            truth=truth,
            references=self._references,
            boxes_px=self._boxes_px(image),
            truth_boxes_px=truth_boxes_px,
            people=tuple(identity.name for identity in self._identities),
        )
        return build_case(images, width=self._width)

    def _boxes_px(self, image: Photo) -> tuple[BoxPx, ...] | None:
        if not self._is_placed:
            return None
        return tuple(expected_box_px(face, image.shape[1], image.shape[0]) for face in self._placed)

    def _photos(self, identity: Identity, reference: FaceEmbeddings) -> np.ndarray:
        """The embeddings of all photos of a person where the judge made them, else of the one in their crop."""
        own = getattr(self._analysis, "model_name", "")
        if identity.embeddings is None or (own and identity.face_model and own != identity.face_model):
            return reference.embeddings
        return identity.embeddings.detach().cpu().float().numpy()

    def _detected(self, photo: Photo) -> DetectedImage:
        key = photo_key(photo)
        if key not in self._seen:
            self._seen[key] = detect(photo, self._analysis).faces
            self._looked()
        return DetectedImage(photo, self._seen[key])

    @property
    def _width(self) -> int:
        """Length of an embedding where an image has no face to tell it."""
        return len(self._identities[0].arcface)

    def _reference(self, identity: Identity) -> FaceEmbeddings:
        """The embedding the person came with, or, where another recognizer made it, that of the face in their crop."""
        own = getattr(self._analysis, "model_name", "")
        if not own or not identity.face_model or own == identity.face_model:
            return FaceEmbeddings.single(identity.arcface.detach().cpu().float().numpy())
        crop = (identity.crop.detach().cpu() * 255.0).round().to(torch.uint8).numpy()
        # A crop's face fills it, as a reference's may, and detectors miss such a face.
        padded = detect_reference(crop, self._analysis)
        self._notes.append(
            f"{identity.name} was made with {identity.face_model}; compared with the face of the crop, seen by {own}."
        )
        return FaceEmbeddings.of(_middlemost(padded.faces, padded.image.shape[0]), width=self._width)

    def _one_image_of(self, photos: Sequence[Photo]) -> tuple[FaceEmbeddings, tuple[BoxPx, ...]] | None:
        """The faces of one photo a person side by side, as if one image showed them all, and whose box is whose."""
        if not len(photos):
            return None
        found, boxes = [], []
        for index, (photo, identity) in enumerate(zip(photos, self._identities, strict=True)):
            faces = FaceEmbeddings.of(self._detected(photo).faces, width=self._width)
            boxes.append((2.0 * index, 0.0, 2.0 * index + 1, 1.0))
            if faces.count != 1:
                used = "the highest score counts" if faces.count else "nothing can be compared with it"
                self._notes.append(
                    f"The second photo of {identity.name} shows {_counted(faces.count, 'face')}; {used}."
                )
            if faces.count:
                best = int(faces.scores.argmax())
                found.append((boxes[-1], faces.scores[best], faces.embeddings[best]))
        together = FaceEmbeddings(
            np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in found], np.float32),
            np.array([each for _, _, each in found], np.float32).reshape(len(found), -1 if found else self._width),
        )
        return together, tuple(boxes)

    def _aspect_notes(self, images: Sequence[Photo], input_name: str) -> list[str]:
        height_px, width_px = images[0].shape[:2]
        words = stretching(self._placed, width_px, height_px)
        return [f"{input_name} are {words} them."] if words else []


def _box_of(face: PlacedFace) -> Box:
    return _around(face.region) if isinstance(face.region, Mask) else face.region


def expected_box_px(face: PlacedFace, width_px: int, height_px: int) -> BoxPx:
    """Where a placed face is expected in an image of this size; of a mask, the box around what is painted."""
    return _box_of(face).to_px(width_px, height_px)


def _around(mask: Mask) -> Box:
    rows, columns = (torch.nonzero((mask.coverage >= 0.5 - SLACK).any(dim=axis)).flatten() for axis in (1, 0))
    height, width = mask.coverage.shape
    return Box(
        float(columns[0]) / width,
        float(rows[0]) / height,
        (float(columns[-1]) + 1) / width,
        (float(rows[-1]) + 1) / height,
    )


def _taken(score: CaseScores, case: Case) -> tuple[BoxPx | None, ...]:
    boxes_px = case.generated.boxes_px.tolist()
    return tuple(None if item.face is None else tuple(boxes_px[item.face]) for item in score.identities)


def _middlemost(faces: Sequence[Face], side_px: float) -> tuple[Face, ...]:
    """The face nearest to the middle of a square: a crop is made around its person, whoever else looks in."""
    middle = side_px / 2

    def away(face: Face) -> float:
        x1, y1, x2, y2 = face.box_px
        return ((x1 + x2) / 2 - middle) ** 2 + ((y1 + y2) / 2 - middle) ** 2

    return tuple(sorted(faces, key=away)[:1])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
