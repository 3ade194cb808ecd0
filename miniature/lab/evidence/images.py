"""How robustly the VAE decodes, and how far the base model does what a caption says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from withanyone_core.faces.analysis import load_face_analysis
from withanyone_core.faces.crop import face_crop
from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.metrics.judges import load_judge

from ...generation import pixels_of, shipped_generator
from ...models.classifiers import Classifier, Classifiers, load_classifiers
from ...weights_folder import FACES
from ..recipes.classifiers import FILE as CLASSIFIERS
from ..recipes.scenes import signed_pixels
from ..steering import DETECTION_PX
from .dataset import Dataset, Sample, faces_in
from .faces import JUDGE, gallery_of, identified
from .figures import Figure, percentage

SERIES = 4
AT_ONCE = 32
QUESTIONS = ("expression", "direction", "number of people", "light", "place")
GENERATED = dict(zip(QUESTIONS, (90.0, 95.0, 98.0, 98.0, 98.0), strict=True))
LEGIBLE = dict.fromkeys(QUESTIONS, 98.0)
DECODED = {0.0: 95.0, 0.3: 90.0}  # by the noise on the latents, whose deviation is 1


@dataclass(frozen=True)
class Verdict:
    """What the classifiers say of one image against its caption.

    expressions, directions  by person: whether the one face in the box shows it
    """

    count: bool
    place: bool
    light: bool
    expressions: tuple[bool, ...]
    directions: tuple[bool, ...]


def images_evidence(weights: Path, dataset: Dataset, rows: int = 100) -> tuple[Figure, ...]:
    """All figures of the classifiers, the VAE and the base model in a folder of weights.

    The classifiers are first asked about the renderer's own images: what they get wrong there is their mistake.
    """
    analysis = load_face_analysis(weights / FACES, det_size=DETECTION_PX)
    classifiers, judge = load_classifiers(weights / CLASSIFIERS), load_judge(weights / JUDGE)
    generator, samples = shipped_generator(weights), dataset.samples(SERIES, rows)
    figures = [*adherence(_verdicts(samples, _truths(samples), analysis, classifiers), "the renderer's own images")]
    gallery = gallery_of(dataset, analysis, judge)
    for sigma, target in DECODED.items():
        images, where = decoded(generator.autoencoder, _truths(samples), sigma), f"decoded images, noise {sigma:g}"
        pairs = zip(samples, images, strict=True)
        hits = np.concatenate([identified(sample, image, analysis, judge, gallery)[:, 0] for sample, image in pairs])
        figures.append(percentage(f"right one of {dataset.people} in {where}, by the recognizer", hits, target))
        targets = {"expression": target, "direction": target}
        figures += adherence(_verdicts(samples, images, analysis, classifiers), where, targets)
    starts = tqdm(range(0, len(samples), AT_ONCE), desc="generating", disable=None)
    blocks = ([sample.caption for sample in samples[start : start + AT_ONCE]] for start in starts)
    images = np.concatenate([generator.generate(block, samples[0].seed + at) for at, block in enumerate(blocks)])
    return (*figures, *adherence(_verdicts(samples, images, analysis, classifiers), "generated images", GENERATED))


def decoded(autoencoder: nn.Module, images: np.ndarray, sigma: float) -> np.ndarray:
    """Images uint8 [N, H, W, 3] encoded, with noise of deviation `sigma` added, and decoded."""
    generator, blocks = torch.Generator().manual_seed(0), []
    for start in tqdm(range(0, len(images), AT_ONCE), desc=f"decoding, noise {sigma:g}", disable=None):
        with torch.inference_mode():
            latents = autoencoder.encode(signed_pixels(images[start : start + AT_ONCE])).latent_dist.mean
            noisy = latents + sigma * torch.randn(latents.shape, generator=generator)
            blocks.append(pixels_of(autoencoder.decode(noisy).sample))
    return np.concatenate(blocks)


def adherence(
    verdicts: Sequence[Verdict], where: str, targets: Mapping[str, float | None] = LEGIBLE
) -> tuple[Figure, ...]:
    """The percentages of images and faces that show what the caption says; those of `targets` alone."""
    hits = {
        "expression": np.concatenate([verdict.expressions for verdict in verdicts]),
        "direction": np.concatenate([verdict.directions for verdict in verdicts]),
        "number of people": [verdict.count for verdict in verdicts],
        "light": [verdict.light for verdict in verdicts],
        "place": [verdict.place for verdict in verdicts],
    }
    return tuple(percentage(f"{question} in {where}", hits[question], target) for question, target in targets.items())


def judged(sample: Sample, pixels: np.ndarray, analysis: FaceAnalysis, classifiers: Classifiers) -> Verdict:
    """An image held against the sample whose caption it was generated from."""
    whole = {question: answers[0] for question, answers in _answers(classifiers.image, [pixels]).items()}
    seen, people = analysis.faces(pixels), sample.scene.people
    faces = [found[0].box_px if len(found) == 1 else None for found in faces_in(sample.boxes, seen)]
    looks = iter(looks_of(pixels, [box for box in faces if box is not None], classifiers))
    found = [None if box is None else next(looks) for box in faces]
    return Verdict(
        len(seen) == len(people),
        whole["place"] == sample.scene.place,
        whole["light"] == sample.scene.light,
        *(
            tuple(
                answer is not None and answer[question] == getattr(placed.look, question)
                for answer, placed in zip(found, people, strict=True)
            )
            for question in ("expression", "direction")
        ),
    )


def looks_of(
    pixels: np.ndarray, boxes_px: Sequence[tuple[float, ...]], classifiers: Classifiers
) -> list[dict[str, str]]:
    """What the classifiers say of the faces in these boxes: expression and direction of each."""
    if not boxes_px:
        return []
    answers = _answers(classifiers.face, [face_crop(pixels, box) for box in boxes_px])
    return [dict(zip(answers, each, strict=True)) for each in zip(*answers.values(), strict=True)]


def _verdicts(
    samples: Sequence[Sample], images: Sequence[np.ndarray], analysis: FaceAnalysis, classifiers: Classifiers
) -> list[Verdict]:
    return [judged(sample, pixels, analysis, classifiers) for sample, pixels in zip(samples, images, strict=True)]


def _truths(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([sample.truth for sample in samples])


def _answers(classifier: Classifier, images: Sequence[np.ndarray]) -> dict[str, list[str]]:
    side = (classifier.side_px, classifier.side_px)
    sized = [cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images]
    return classifier.named(signed_pixels(np.stack(sized)))
