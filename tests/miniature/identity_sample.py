"""A small fixed sample of people in boxes, for the shipped two-person workflow, and who came out in each box."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from withanyone_pack.tests.comfyui.small_graphs import Graph, node_of, shipped_graph
from withanyone_pack.tests.training.rooms import add_training

add_training()

from withanyone_pack.miniature.recipes.scenes import SIZE_PX
from withanyone_pack.miniature.steering import DETECTION_PX, portrait
from withanyone_pack.miniature.weights_folder import FACES, shipped
from withanyone_pack.miniature.world.captions import caption
from withanyone_pack.miniature.world.person import person_of
from withanyone_pack.miniature.world.renderer import seen_faces
from withanyone_pack.miniature.world.scene import draw_scene

from withanyone_core.faces.analysis import InsightFaceAnalysis, load_face_analysis
from withanyone_core.layout import CELL_PX
from withanyone_core.metrics.judges import Judge, load_judge
from withanyone_core.metrics.matching import overlaps

BoxPx = tuple[float, float, float, float]

JUDGE = "judge.json"
# People of no training set, not those that miniature/prove.py measures, and each pair as unlike as people here are:
# the sample shall notice what breaks, how well the adapter does is measured there.
PEOPLE = ((1_003_000, 1_003_001), (1_003_002, 1_003_003), (1_003_004, 1_003_005), (1_003_008, 1_003_020))
STEPS = 12
COLUMNS, ROWS = 3, 4  # of the cells that a box reaches into, the middle of a face
LEAST_OVERLAP = 0.1
GALLERY_SERIES, PORTRAITS = 84, 4


@dataclass(frozen=True)
class Pair:
    """Two people and what is asked of the workflow.

    faces_px  where the world draws their faces, in pixels
    boxes_px  what the workflow is told
    """

    people: tuple[int, int]
    faces_px: tuple[BoxPx, ...]
    boxes_px: tuple[BoxPx, ...]
    prompt: str
    seed: int

    def told(self, boxes_px: Sequence[BoxPx]) -> "Pair":
        return replace(self, boxes_px=tuple(boxes_px))


@cache
def sample() -> tuple[Pair, ...]:
    """The pairs in places that the world draws for them."""
    return tuple(_pair(number, people) for number, people in enumerate(PEOPLE))


def _pair(number: int, people: tuple[int, int]) -> Pair:
    scene = draw_scene(np.random.default_rng([people[0], number]), [person_of(person) for person in people])
    faces_px = [tuple(SIZE_PX * value for value in face.box) for face in seen_faces(scene, SIZE_PX, SIZE_PX)]
    return Pair(people, tuple(faces_px), tuple(map(_tight, faces_px)), caption(scene), number + 1)


def _tight(face_px: BoxPx) -> BoxPx:
    """A box that reaches by a pixel into COLUMNS x ROWS cells in the middle of a face: all depends on its rounding."""
    x1, y1, x2, y2 = face_px
    column, row = round((x1 + x2) / 2 / CELL_PX - COLUMNS / 2), round((y1 + y2) / 2 / CELL_PX - ROWS / 2)
    first = (column + 1) * CELL_PX - 1, (row + 1) * CELL_PX - 1
    last = (column + COLUMNS - 1) * CELL_PX + 1, (row + ROWS - 1) * CELL_PX + 1
    return (*first, *last)


def asked(pair: Pair) -> Graph:
    """The shipped workflow with this pair of people, both branches as strong as they were trained, in fewer steps."""
    graph = shipped_graph("miniature")
    for place, person in enumerate(pair.people):
        node_of(graph, "WithAnyoneMiniaturePhotos", place).update(person=person)
    rows = "\n".join(",".join(map(str, box)) for box in pair.boxes_px)
    node_of(graph, "WithAnyoneLayout").update(boxes=rows)
    node_of(graph, "WithAnyoneApply").update(id_weight=1.0, siglip_weight=1.0)
    node_of(graph, "CLIPTextEncode").update(text=pair.prompt)
    node_of(graph, "RandomNoise").update(noise_seed=pair.seed)
    node_of(graph, "WithAnyoneScheduler").update(steps=STEPS)
    return graph


class Eyes:
    """The shipped detector, and the judge with what it knows of everybody."""

    def __init__(self) -> None:
        self.analysis: InsightFaceAnalysis = load_face_analysis(shipped(FACES), det_size=DETECTION_PX)
        self.judge: Judge = load_judge(shipped(JUDGE))
        self.known = {person: self._known(person) for people in PEOPLE for person in people}

    def _known(self, person: int) -> np.ndarray:
        shots = [portrait(person, GALLERY_SERIES, photo, SIZE_PX) for photo in range(PORTRAITS)]
        vectors = [self.judge.embed(shot, faces[:1])[0] for shot in shots if (faces := self.analysis.faces(shot))]
        return unit(np.mean([unit(vector) for vector in vectors], axis=0))

    def seen(self, picture: np.ndarray, pair: Pair) -> list[int | None]:
        """Which of the two is in each place of an RGB picture [160, 160, 3] uint8; None where there is no face."""
        faces = self.analysis.faces(picture)
        if not faces:
            return [None] * len(pair.people)
        shared = overlaps(np.array(pair.faces_px), np.array([face.box_px for face in faces]))
        vectors = self.judge.embed(picture, faces)
        return [self._nearer(vectors[row.argmax()], pair) if row.max() >= LEAST_OVERLAP else None for row in shared]

    def _nearer(self, vector: np.ndarray, pair: Pair) -> int:
        return max(pair.people, key=lambda person: float(self.known[person] @ vector))


eyes = cache(Eyes)


def accuracy(pictures: Sequence[Sequence[np.ndarray]]) -> float:
    """Part of the places in which the person is seen who was asked for there; pictures of each pair of the sample."""
    hits = [
        who == person
        for pair, made in zip(sample(), pictures, strict=True)
        for picture in made
        for who, person in zip(eyes().seen(picture, pair), pair.people, strict=True)
    ]
    return float(np.mean(hits))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
