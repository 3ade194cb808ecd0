"""One image of people whom it was asked for: who the judge sees in each box, and what the caption got."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.identity import Face
from withanyone_core.metrics.cache import photo_key
from withanyone_core.metrics.case import Case, FaceEmbeddings
from withanyone_core.metrics.judges import Judge, load_judge
from withanyone_core.metrics.matching import match
from withanyone_core.metrics.scoring import score_case

from ...models.classifiers import Classifiers, load_classifiers
from ...world.scene import SIDE_PX
from ..recipes.classifiers import FILE as CLASSIFIERS
from .dataset import Dataset, Sample, faces_in
from .faces import JUDGE, gallery_of, unit
from .images import Verdict, judged
from .results import Results

REMEMBERED = 256  # images


@dataclass(frozen=True)
class Judged:
    """An image as the judge sees it, box by box in the order of the people asked for.

    faces       how many faces have their middle in the box
    nearest     of all people the one whom the face in the box is most like; None where no face is in it
    ranks       how many of all people are nearer to that face than the one asked for; None where no face is in it
    likeness    cosines of that face with each of the people asked for; None where no face is in it
    sim_gt, sim_ref, copy_paste   the image's scores against the drawn scene and the photos shown to the adapter;
                                  None where there is nothing to compare with
    """

    faces: Sequence[int]
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
class Evaluator:
    """The judge and the classifiers.

    gallery     what the judge knows of each person, unit embeddings float [people, d]
    references  the judge's embeddings of the photos that the adapter is shown, float [people, d]
    """

    analysis: FaceAnalysis
    judge: Judge
    classifiers: Classifiers
    gallery: np.ndarray
    references: np.ndarray

    def judged(self, pixels: np.ndarray, sample: Sample) -> Judged:
        """The image uint8 RGB [SIDE_PX, SIDE_PX, 3] held against its sample."""
        boxes_px = tuple(box.to_px(SIDE_PX, SIDE_PX) for box in sample.boxes)
        generated = self._embeddings(pixels)
        case = Case(
            name="an image",
            generated=generated,
            truth=self._embeddings(sample.truth),
            references=tuple(FaceEmbeddings.single(self.references[place]) for place in sample.people),
            boxes_px=boxes_px,
            truth_boxes_px=boxes_px,
        )
        matching = match(case)
        scores = score_case(case, matching=matching)
        rows = [None if face is None else self.gallery @ unit(generated.embeddings[face]) for face in matching.faces]
        return Judged(
            faces=[len(found) for found in faces_in(sample.boxes, self.analysis.faces(pixels))],
            nearest=[None if row is None else int(row.argmax()) for row in rows],
            ranks=[
                None if row is None else int((row > row[place]).sum())
                for row, place in zip(rows, sample.people, strict=True)
            ],
            likeness=[None if row is None else [float(row[place]) for place in sample.people] for row in rows],
            sim_gt=scores.sim_gt,
            sim_ref=scores.sim_ref,
            copy_paste=scores.copy_paste,
        )

    def adherence(self, pixels: np.ndarray, sample: Sample) -> Verdict:
        """Whether the image shows what its caption says."""
        return judged(sample, pixels, self.analysis, self.classifiers)

    def _embeddings(self, pixels: np.ndarray) -> FaceEmbeddings:
        faces = self.analysis.faces(pixels)
        return FaceEmbeddings.of(faces, self.judge.embed(pixels, faces))


def make_evaluator(weights: Path, analysis: FaceAnalysis, dataset: Dataset, results: Results) -> Evaluator:
    """The evaluator of a folder of weights; its gallery is made once for each key of the results."""
    judge = load_judge(weights / JUDGE)
    known = results.arrays("people")
    if known is None:
        photos = [dataset.reference_photo(place, analysis) for place in range(dataset.people)]
        references = np.stack([judge.embed(photo, analysis.faces(photo)[:1])[0] for photo in photos])
        known = {"gallery": gallery_of(dataset, analysis, judge).judge, "references": references}
        results.keep("people", known)
    classifiers = load_classifiers(weights / CLASSIFIERS)
    return Evaluator(analysis, judge, classifiers, known["gallery"], known["references"])
