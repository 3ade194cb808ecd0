"""One picture of people whom it was asked for: who the judge sees in each box, and what the caption got."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from withanyone_core.faces.portrait import FaceAnalysis
from withanyone_core.identity import Face
from withanyone_core.metrics.cache import photo_key
from withanyone_core.metrics.case import BoxPx, Case, FaceVectors
from withanyone_core.metrics.judges import Judge, load_judge
from withanyone_core.metrics.matching import match
from withanyone_core.metrics.scoring import score_case

from ..models.classifiers import Classifiers, load_classifiers
from ..recipes.classifiers import FILE as CLASSIFIERS
from ..recipes.scenes import SIZE_PX, TRAINING_PEOPLE
from ..steering import portrait
from .casting import GALLERY_PHOTOS, PEOPLE, Cast, reference_photo
from .faces import JUDGE
from .ledger import Ledger
from .pictures import Verdict, judged

PORTRAITS = 5  # of each person, in the judge's gallery
REMEMBERED = 256  # pictures


@dataclass(frozen=True)
class Judged:
    """A picture as the judge sees it, box by box in the order of the people asked for.

    nearest     of the PEOPLE the one whom the face in the box is most like; None where no face is in it
    ranks       how many of the PEOPLE are nearer to that face than the one asked for; None where no face is in it
    likeness    cosines of that face with each of the people asked for; None where no face is in it
    sim_gt, sim_ref, copy_paste   the picture's scores against the drawn scene and the photos shown to the adapter;
                                  None where there is nothing to compare with
    """

    nearest: Sequence[int | None]
    ranks: Sequence[int | None]
    likeness: Sequence[Sequence[float] | None]
    sim_gt: float | None
    sim_ref: float | None
    copy_paste: float | None


class RememberedFaces:
    """A face analysis that looks at the same pixels only once."""

    def __init__(self, analysis: FaceAnalysis) -> None:
        self.model_name = getattr(analysis, "model_name", "")
        self._analysis = analysis
        self._seen: dict[str, tuple[Face, ...]] = {}

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        key = photo_key(photo)
        if key not in self._seen:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            self._seen[key] = self._analysis.faces(photo)
        return self._seen[key]


@dataclass(frozen=True, eq=False)
class Examiner:
    """The judging recogniser and the classifiers.

    gallery     of each of the PEOPLE the middle of unit vectors of several portraits, float [PEOPLE, d], of length 1
    references  the judge's vectors of the photos that the adapter is shown, float [PEOPLE, d]
    """

    analysis: FaceAnalysis
    judge: Judge
    classifiers: Classifiers
    gallery: np.ndarray
    references: np.ndarray

    def judged(self, pixels: np.ndarray, cast: Cast) -> Judged:
        """The picture uint8 RGB [160, 160, 3] held against its cast."""
        boxes_px = boxes_of(cast)
        generated = self._vectors(pixels)
        case = Case(
            name="a picture",
            generated=generated,
            truth=self._vectors(cast.drawn),
            references=tuple(FaceVectors.single(self.references[place]) for place in cast.people),
            boxes_px=boxes_px,
            truth_boxes_px=boxes_px,
        )
        matching = match(case)
        scores = score_case(case, matching=matching)
        rows = [None if face is None else self.gallery @ _unit(generated.vectors[face]) for face in matching.faces]
        return Judged(
            nearest=[None if row is None else int(row.argmax()) for row in rows],
            ranks=[
                None if row is None else int((row > row[place]).sum())
                for row, place in zip(rows, cast.people, strict=True)
            ],
            likeness=[None if row is None else [float(row[place]) for place in cast.people] for row in rows],
            sim_gt=scores.sim_gt,
            sim_ref=scores.sim_ref,
            copy_paste=scores.copy_paste,
        )

    def adherence(self, pixels: np.ndarray, cast: Cast) -> Verdict:
        """Whether the picture shows what its caption says."""
        return judged(cast.scene, pixels, self.analysis, self.classifiers)

    def _vectors(self, pixels: np.ndarray) -> FaceVectors:
        faces = self.analysis.faces(pixels)
        return FaceVectors.of(faces, self.judge.embed(pixels, faces))


def boxes_of(cast: Cast) -> tuple[BoxPx, ...]:
    """The boxes in pixels."""
    return tuple(box.to_px(SIZE_PX, SIZE_PX) for box in cast.boxes)


def make_examiner(weights: Path, analysis: FaceAnalysis, ledger: Ledger) -> Examiner:
    """The examiner of a folder of weights; the people it knows are looked at once for each key of the ledger."""
    judge = load_judge(weights / JUDGE)
    known = ledger.arrays("people")
    if known is None:
        known = _known_people(analysis, judge)
        ledger.keep("people", known)
    classifiers = load_classifiers(weights / CLASSIFIERS)
    return Examiner(analysis, judge, classifiers, known["gallery"], known["references"])


def _known_people(analysis: FaceAnalysis, judge: Judge) -> dict[str, np.ndarray]:
    gallery, references = [], []
    for place in tqdm(range(PEOPLE), desc="people to know", disable=None):
        shots = [portrait(TRAINING_PEOPLE + place, GALLERY_PHOTOS, photo, SIZE_PX) for photo in range(PORTRAITS)]
        vectors = [_vector(judge, shot, faces) for shot in shots if (faces := analysis.faces(shot))]
        if not vectors:
            raise ValueError(f"No face was found in {PORTRAITS} portraits of one person. Train the detector again.")
        gallery.append(_unit(np.mean([_unit(vector) for vector in vectors], axis=0)))
        photo = reference_photo(place, analysis)
        references.append(_vector(judge, photo, analysis.faces(photo)))
    return {"gallery": np.stack(gallery), "references": np.stack(references)}


def _vector(judge: Judge, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """Of the likeliest face."""
    return judge.embed(photo, faces[:1])[0]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
