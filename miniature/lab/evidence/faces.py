"""How well the miniature's face models find and tell apart people whom they were not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from withanyone_core.faces.analysis import load_face_analysis
from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.identity import Face
from withanyone_core.metrics.judges import Judge, load_judge

from ...weights_folder import FACES
from ...world.person import person_of
from ...world.renderer import Image, render
from ...world.scene import SIDE_PX, draw_portrait
from ..steering import DETECTION_PX
from .dataset import GALLERY_PHOTOS, Dataset, Sample, faces_in
from .figures import Figure, correlation, mean, percentage

JUDGE = "judge.json"
PORTRAIT_PX = 512
FOUND_OVERLAP = 0.5
GALLERY_SIZE = 5  # portraits of each person
SERIES, PORTRAIT_SERIES = 2, 3
RECOGNIZED = 99.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured: scenes for each number of people, and portraits."""

    scenes: int = 100
    portraits: int = 150


@dataclass(frozen=True, eq=False)
class Gallery:
    """What both recognizers know of each person, unit embeddings float [people, d]: the middle of some portraits'."""

    recognizer: np.ndarray
    judge: np.ndarray


def faces_evidence(weights: Path, dataset: Dataset, sizes: Sizes = Sizes()) -> tuple[Figure, ...]:
    """All figures of the detector and both recognizers in a folder of weights."""
    analysis = load_face_analysis(weights / FACES, det_size=DETECTION_PX)
    judge = load_judge(weights / JUDGE)
    samples = dataset.samples(SERIES, sizes.scenes)
    scenes = [render(sample.scene, SIDE_PX, SIDE_PX) for sample in tqdm(samples, desc="scenes", disable=None)]
    few = scenes[: len(scenes) // 4]
    portraits = [unseen_portrait(dataset, number) for number in range(sizes.portraits)]
    return (
        *detection(analysis, scenes, f"scenes, detection size {DETECTION_PX}"),
        *detection(load_face_analysis(weights / FACES), few, "scenes, detection size 640"),
        *detection(analysis, portraits, f"portraits of {PORTRAIT_PX} px"),
        *identification(samples, analysis, judge, gallery_of(dataset, analysis, judge)),
    )


def detection(analysis: FaceAnalysis, images: Sequence[Image], where: str) -> tuple[Figure, ...]:
    """Recall, landmark error and false alarms on unseen people, through insightface."""
    found, errors, groups, extra = [], [], [], []
    for number, image in enumerate(tqdm(images, desc=f"faces in {where}", disable=None)):
        seen = analysis.faces(image.pixels)
        matches = matched(image, seen)
        extra.append(len(seen) - sum(match is not None for match in matches))
        for match, truth in zip(matches, landmarks_px(image), strict=True):
            found.append(match is not None)
            if match is not None:
                between_eyes = np.linalg.norm(truth[1] - truth[0])
                errors.append(np.linalg.norm(match.landmarks_px - truth, axis=1).mean() / between_eyes)
                groups.append(number)
    return (
        percentage(f"faces found in {where}", found, target=99.0),
        mean(f"landmark error in {where}", 100 * np.array(errors), np.array(groups), "% of the eyes' distance"),
        mean(f"false alarms an image in {where}", np.array(extra, float)),
    )


def identification(
    samples: Sequence[Sample], analysis: FaceAnalysis, judge: Judge, gallery: Gallery
) -> tuple[Figure, ...]:
    """How often both recognizers find the right one on the renderer's own images, and whether they err together."""
    hits = [identified(sample, sample.truth, analysis, judge, gallery) for sample in tqdm(samples, desc="who is who")]
    by_recognizer, by_judge = np.concatenate(hits).T
    where = f"right one of {len(gallery.judge)} on the renderer's own images"
    figures = [
        percentage(f"{where}, by the recognizer", by_recognizer, RECOGNIZED),
        percentage(f"{where}, by the judge", by_judge, RECOGNIZED),
        correlation("correlation (phi) of their mistakes", ~by_recognizer, ~by_judge),
    ]
    either = ~(by_recognizer & by_judge)
    if either.any():
        figures.append(percentage("mistakes of either that both make", ~(by_recognizer | by_judge)[either]))
    return tuple(figures)


def identified(
    sample: Sample, pixels: np.ndarray, analysis: FaceAnalysis, judge: Judge, gallery: Gallery
) -> np.ndarray:
    """Whether the recognizer, and the judge, take the one face in each box for who should be there, bool [people, 2].

    False where no face is in the box, or several are.
    """
    found = np.zeros((len(sample.people), 2), bool)
    for place, faces in enumerate(faces_in(sample.boxes, analysis.faces(pixels))):
        if len(faces) == 1:
            nearest = (gallery.recognizer @ faces[0].embedding, gallery.judge @ judge.embed(pixels, faces)[0])
            found[place] = [likeness.argmax() == sample.people[place] for likeness in nearest]
    return found


def gallery_of(dataset: Dataset, analysis: FaceAnalysis, judge: Judge, photos: int = GALLERY_SIZE) -> Gallery:
    """Every person of a dataset by so many portraits. ValueError where no face is found in any of somebody's."""
    by_recognizer, by_judge = [], []
    for place in tqdm(range(dataset.people), desc="people to know", disable=None):
        shots = [dataset.portrait(place, GALLERY_PHOTOS, photo) for photo in range(photos)]
        seen = [(shot, faces[:1]) for shot in shots if (faces := analysis.faces(shot))]
        if not seen:
            raise ValueError(f"No face was found in {photos} portraits of one person. Train the detector again.")
        by_recognizer.append(_middle([faces[0].embedding for _, faces in seen]))
        by_judge.append(_middle([judge.embed(shot, faces)[0] for shot, faces in seen]))
    return Gallery(np.stack(by_recognizer), np.stack(by_judge))


def unseen_portrait(dataset: Dataset, number: int) -> Image:
    rng = dataset.rng(PORTRAIT_SERIES, number)
    person = person_of(dataset.first_person + dataset.people + number)
    return render(draw_portrait(rng, person), PORTRAIT_PX, PORTRAIT_PX)


def matched(image: Image, seen: Sequence[Face]) -> list[Face | None]:
    """For each face of an image the found one that overlaps it most, at least by half; none is used twice."""
    height, width = image.pixels.shape[:2]
    left, matches = list(seen), []
    for face in image.faces:
        box = np.array(face.box) * (width, height, width, height)
        best = max(left, key=lambda each: _overlap(box, each.box_px), default=None)
        if best is not None and _overlap(box, best.box_px) >= FOUND_OVERLAP:
            left.remove(best)
            matches.append(best)
        else:
            matches.append(None)
    return matches


def landmarks_px(image: Image) -> list[np.ndarray]:
    """The true landmarks of each face, float32 [5, 2] in pixels."""
    height, width = image.pixels.shape[:2]
    return [face.landmarks * np.array([width, height], np.float32) for face in image.faces]


def unit(embedding: np.ndarray) -> np.ndarray:
    """Of length 1."""
    return embedding / np.linalg.norm(embedding)


def _middle(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    return unit(np.mean([unit(each) for each in embeddings], axis=0))


def _overlap(first: np.ndarray, second: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(shared / (areas - shared)) if shared else 0.0
