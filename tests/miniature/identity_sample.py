"""A small fixed sample of people in boxes, for the shipped two-person workflow, and who came out in each box."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from withanyone_pack.tests.comfyui.small_graphs import Graph, node_of, shipped_graph
from withanyone_pack.tests.training.rooms import add_training

add_training()

from withanyone_pack.miniature.lab.evidence.dataset import Dataset, Sample
from withanyone_pack.miniature.lab.evidence.faces import JUDGE, Gallery, gallery_of, identified
from withanyone_pack.miniature.lab.steering import DETECTION_PX
from withanyone_pack.miniature.weights_folder import FACES, shipped
from withanyone_pack.miniature.world.scene import CELL_PX

from withanyone_core.faces.analysis import InsightFaceAnalysis, load_face_analysis
from withanyone_core.metrics.judges import Judge, load_judge

BoxPx = tuple[int, int, int, int]

# Not those whom miniature/lab/evaluate.py measures: the sample shall notice what breaks, not how well the adapter does.
DATASET = Dataset(first_person=1_003_000, people=24)
SAMPLES = tuple(DATASET.sample(0, row, 2) for row in range(4))
STEPS = 12
PORTRAITS = 4


def tight(sample: Sample) -> tuple[BoxPx, ...]:
    """Boxes that reach by a pixel into the 3 x 4 cells of each face: all depends on how they are rounded."""
    boxes = []
    for box in sample.boxes:
        left, top, _, _ = (round(edge) for edge in box.to_px(11 * CELL_PX, 11 * CELL_PX))
        first, last = (left + 2 * CELL_PX - 1, top + 2 * CELL_PX - 1), (left + 3 * CELL_PX + 1, top + 4 * CELL_PX + 1)
        boxes.append((*first, *last))
    return tuple(boxes)


def asked(number: int, boxes_px: Sequence[Sequence[int]]) -> Graph:
    """The shipped workflow with a sample's people in these boxes, both branches at full weight, in fewer steps."""
    graph, sample = shipped_graph("miniature"), SAMPLES[number]
    for place, person in enumerate(sample.people):
        node_of(graph, "WithAnyoneMiniaturePhotos", place).update(person=DATASET.first_person + person)
    node_of(graph, "WithAnyoneLayout").update(boxes="\n".join(",".join(map(str, box)) for box in boxes_px))
    node_of(graph, "WithAnyoneApply").update(id_weight=1.0, siglip_weight=1.0)
    node_of(graph, "CLIPTextEncode").update(text=sample.caption)
    node_of(graph, "RandomNoise").update(noise_seed=number + 1)
    node_of(graph, "WithAnyoneScheduler").update(steps=STEPS)
    return graph


@cache
def eyes() -> tuple[InsightFaceAnalysis, Judge, Gallery]:
    """The shipped detector, and the judge with what it knows of everybody."""
    analysis, judge = load_face_analysis(shipped(FACES), det_size=DETECTION_PX), load_judge(shipped(JUDGE))
    return analysis, judge, gallery_of(DATASET, analysis, judge, PORTRAITS)


def accuracy(images: Sequence[Sequence[np.ndarray]]) -> float:
    """Part of the boxes in which the judge, of all people of DATASET, sees who was asked for; images by sample."""
    hits = [
        identified(sample, image, *eyes())[:, 1] for sample, made in zip(SAMPLES, images, strict=True) for image in made
    ]
    return float(np.concatenate(hits).mean())
