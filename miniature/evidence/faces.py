"""How well the miniature's face models find and tell apart people whom they were not trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from withanyone_core.faces.analysis import InsightFaceAnalysis, load_face_analysis
from withanyone_core.identity import Face
from withanyone_core.metrics.judges import Judge, load_judge

from ..recipes.scenes import TRAINING_PEOPLE
from ..world.person import Person, person_of
from ..world.renderer import Picture, render
from ..world.scene import draw_portrait, draw_scene
from .figures import Figure, correlation, mean, share

PACK, JUDGE = "faces", "judge.json"
DET_SIZE = 320  # large enough for pictures of 160 pixels, and four times as quick as the usual 640
SIDE_PX = 160
PORTRAIT_PX = 512
FOUND_OVERLAP = 0.5
SEED = 9_000
COUNTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Sizes:
    """How much is measured: scenes for detection, people for the pairs and for the threshold between them."""

    scenes: int = 600
    portraits: int = 150
    people: int = 800
    threshold_people: int = 400


@dataclass(frozen=True, eq=False)
class Pairs:
    """Cosines of both recognisers, float [pairs], and whether a pair is one person, bool [pairs]."""

    recogniser: np.ndarray
    judge: np.ndarray
    same: np.ndarray


def faces_evidence(weights: Path, sizes: Sizes = Sizes()) -> tuple[Figure, ...]:
    """All figures of the detector and both recognisers in a folder of weights."""
    analysis = load_face_analysis(weights / PACK, det_size=DET_SIZE)
    judge = load_judge(weights / JUDGE)
    return (
        *detection(analysis, sizes.scenes, f"scenes, detection size {DET_SIZE}"),
        *detection(load_face_analysis(weights / PACK), sizes.scenes // 4, "scenes, detection size 640"),
        *detection(analysis, sizes.portraits, f"portraits of {PORTRAIT_PX} px", portraits=True),
        *verification(analysis, judge, sizes),
    )


def detection(analysis: InsightFaceAnalysis, pictures: int, where: str, portraits: bool = False) -> tuple[Figure, ...]:
    """Recall, landmark error and false alarms on unseen people, through insightface."""
    found, errors, groups, extra = [], [], [], []
    for number in tqdm(range(pictures), desc=f"faces in {where}", disable=None):
        picture = unseen_portrait(number) if portraits else unseen_scene(number)
        seen = analysis.faces(picture.pixels)
        matches = matched(picture, seen)
        extra.append(len(seen) - sum(match is not None for match in matches))
        for match, truth in zip(matches, landmarks_px(picture), strict=True):
            found.append(match is not None)
            if match is not None:
                between_eyes = np.linalg.norm(truth[1] - truth[0])
                errors.append(np.linalg.norm(match.landmarks_px - truth, axis=1).mean() / between_eyes)
                groups.append(number)
    return (
        share(f"faces found in {where}", found, target=99.0),
        mean(f"landmark error in {where}", 100 * np.array(errors), np.array(groups), "% of the eyes' distance"),
        mean(f"false alarms a picture in {where}", np.array(extra, float)),
    )


def verification(analysis: InsightFaceAnalysis, judge: Judge, sizes: Sizes) -> tuple[Figure, ...]:
    """Accuracy of both recognisers on balanced pairs, and how far they make the same mistakes."""
    first = sizes.people + sizes.threshold_people
    tried = pairs(analysis, judge, range(sizes.people))
    known = pairs(analysis, judge, range(sizes.people, first))
    right = []
    for cosines, tuning in ((tried.recogniser, known.recogniser), (tried.judge, known.judge)):
        right.append((cosines > threshold(tuning, known.same)) == tried.same)
    recogniser_wrong, judge_wrong = (~each for each in right)
    either = (recogniser_wrong | judge_wrong).nonzero()[0]
    shared = (recogniser_wrong & judge_wrong)[either]
    figures = [
        share("verification by the recogniser", right[0], target=99.0),
        share("verification by the judge", right[1], target=99.0),
        correlation("correlation (phi) of their mistakes", recogniser_wrong, judge_wrong),
    ]
    if len(either):
        figures.append(share("mistakes of either that both make", shared))
    for same, kind in ((True, "one person"), (False, "two people")):
        chosen = tried.same == same
        name = f"correlation of their cosines, pairs of {kind}"
        figures.append(correlation(name, tried.recogniser[chosen], tried.judge[chosen]))
    return tuple(figures)


def pairs(analysis: InsightFaceAnalysis, judge: Judge, people: range) -> Pairs:
    """Two pictures of each person, and for each a pair with the next person's; faces not found are left out."""
    vectors = []
    for number in tqdm(people, desc="people to tell apart", disable=None):
        shots = [_vectors(analysis, judge, number, shot) for shot in range(2)]
        if all(shot is not None for shot in shots):
            vectors.append(shots)
    recogniser, judged = (np.stack([[_unit(shot[which]) for shot in shots] for shots in vectors]) for which in range(2))
    same = np.repeat([True, False], len(vectors))
    return Pairs(*(np.concatenate([_cosines(each, 0), _cosines(each, 1)]) for each in (recogniser, judged)), same)


def threshold(cosines: np.ndarray, same: np.ndarray) -> float:
    """The cosine above which pairs of a separate set are best taken for one person."""
    order = np.argsort(cosines)
    # Below a cut: pairs of two people are right; above it: pairs of one.
    right = np.concatenate([[0], np.cumsum(~same[order])]) + np.concatenate([np.cumsum(same[order][::-1])[::-1], [0]])
    cuts = np.concatenate([[-1.0], (cosines[order][1:] + cosines[order][:-1]) / 2, [1.0]])
    return float(cuts[right == right.max()].mean())


def unseen_scene(number: int, also: Person | None = None) -> Picture:
    """A scene of 1 to 4 unseen people, all counts alike often, drawn by its number; with `also` as its first person."""
    rng = np.random.default_rng([SEED, number])
    count = COUNTS[number % len(COUNTS)]
    people = [person_of(TRAINING_PEOPLE + int(index)) for index in rng.integers(100_000, TRAINING_PEOPLE, count)]
    if also is not None:
        people[0] = also
    return render(draw_scene(rng, people), SIDE_PX, SIDE_PX)


def unseen_portrait(number: int) -> Picture:
    rng = np.random.default_rng([SEED + 1, number])
    return render(draw_portrait(rng, person_of(TRAINING_PEOPLE + 50_000 + number)), PORTRAIT_PX, PORTRAIT_PX)


def matched(picture: Picture, seen: tuple[Face, ...]) -> list[Face | None]:
    """For each face of a picture the found one that overlaps it most, at least by half; none is used twice."""
    height, width = picture.pixels.shape[:2]
    left, matches = list(seen), []
    for face in picture.faces:
        box = np.array(face.box) * (width, height, width, height)
        best = max(left, key=lambda each: _overlap(box, each.box_px), default=None)
        if best is not None and _overlap(box, best.box_px) >= FOUND_OVERLAP:
            left.remove(best)
            matches.append(best)
        else:
            matches.append(None)
    return matches


def landmarks_px(picture: Picture) -> list[np.ndarray]:
    """The true landmarks of each face, float32 [5, 2] in pixels."""
    height, width = picture.pixels.shape[:2]
    return [face.landmarks * np.array([width, height], np.float32) for face in picture.faces]


def _vectors(
    analysis: InsightFaceAnalysis, judge: Judge, number: int, shot: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The recogniser's and the judge's vector of a person in a scene of their own; None where no face was found."""
    picture = unseen_scene(
        100_000 + 2 * len(COUNTS) * number + shot * 3 + number % 2, person_of(TRAINING_PEOPLE + number)
    )
    match = matched(picture, analysis.faces(picture.pixels))[0]
    return None if match is None else (match.embedding, judge.embed(picture.pixels, [match])[0])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _cosines(units: np.ndarray, further: int) -> np.ndarray:
    """Of each person's first face [people, 2, d] with the second face of the person `further` places on."""
    return (units[:, 0] * np.roll(units[:, 1], -further, axis=0)).sum(1)


def _overlap(first: np.ndarray, second: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(shared / (areas - shared)) if shared else 0.0
