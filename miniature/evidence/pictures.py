"""How faithfully the picture coder codes, and how far the picture model does what a caption says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from withanyone_core.faces.analysis import InsightFaceAnalysis, load_face_analysis
from withanyone_core.faces.crop import face_crop
from withanyone_core.identity import Face

from ..generation import Painter, pixels_of, shipped_painter
from ..models.classifiers import COUNTS, Classifier, Classifiers, load_classifiers
from ..recipes.classifiers import FILE as CLASSIFIERS
from ..recipes.scenes import SIZE_PX, signed_pixels, unseen_scene
from ..world.captions import COLUMNS, caption, reading_order
from ..world.renderer import render
from ..world.scene import Scene
from .faces import DET_SIZE, PACK
from .figures import Figure, mean, share

SEED = 7_000
AT_ONCE = 32


@dataclass(frozen=True)
class Verdict:
    """What the classifiers say of one picture against its caption; of faces only where their number is right."""

    count: bool
    place: bool
    light: bool
    expressions: tuple[bool, ...] = ()
    directions: tuple[bool, ...] = ()


def pictures_evidence(weights: Path, scenes: int = 400) -> tuple[Figure, ...]:
    """All figures of the coder and of the picture model in a folder of weights.

    The classifiers are first asked about the renderer's own pictures: what they get wrong there is their mistake.
    """
    analysis = load_face_analysis(weights / PACK, det_size=DET_SIZE)
    classifiers = load_classifiers(weights / CLASSIFIERS)
    painter = shipped_painter(weights)
    shown = [unseen_scene(SEED, number, 1 + number % len(COUNTS)) for number in range(scenes)]
    drawn = np.stack([render(scene, SIZE_PX, SIZE_PX).pixels for scene in shown])
    own = [judged(scene, pixels, analysis, classifiers) for scene, pixels in zip(shown, drawn, strict=True)]
    painted = np.concatenate([_painted(painter, shown[start : start + AT_ONCE], start) for start in _starts(shown)])
    theirs = [judged(scene, pixels, analysis, classifiers) for scene, pixels in zip(shown, painted, strict=True)]
    return (
        coding_fidelity(painter, drawn),
        *adherence(theirs, "painted pictures", target=85.0),
        *adherence(own, "the renderer's own pictures"),
    )


def coding_fidelity(painter: Painter, pictures: np.ndarray) -> Figure:
    """PSNR of unseen scenes after coding and decoding, in decibels of the mean squared difference of 8-bit levels."""
    decibels = []
    for start in tqdm(range(0, len(pictures), AT_ONCE), desc="coding", disable=None):
        block = pictures[start : start + AT_ONCE]
        with torch.inference_mode():
            latents = painter.autoencoder.encode(signed_pixels(block)).latent_dist.mean
            decoded = pixels_of(painter.autoencoder.decode(latents).sample)
        errors = ((decoded.astype(np.float64) - block) ** 2).mean(axis=(1, 2, 3))
        decibels += list(10 * np.log10(255**2 / errors))
    return mean("PSNR of the picture coder", np.array(decibels), unit="dB", target=28.0)


def adherence(verdicts: Sequence[Verdict], where: str, target: float | None = None) -> tuple[Figure, ...]:
    """The shares of pictures and faces that show what the caption says.

    Of pictures with another number of faces, all people named count as missed.
    """
    expressions = np.concatenate([verdict.expressions for verdict in verdicts])
    directions = np.concatenate([verdict.directions for verdict in verdicts])
    return (
        share(f"number of people in {where}", [verdict.count for verdict in verdicts], target),
        share(f"light in {where}", [verdict.light for verdict in verdicts], target),
        share(f"expression in {where}, a face", expressions, target),
        share(f"direction in {where}, a face", directions, target),
        share(f"place in {where}", [verdict.place for verdict in verdicts]),
    )


def judged(scene: Scene, pixels: np.ndarray, analysis: InsightFaceAnalysis, classifiers: Classifiers) -> Verdict:
    """A picture held against the scene whose caption it was painted from."""
    whole = {question: answers[0] for question, answers in _asked(classifiers.picture, [pixels]).items()}
    faces = in_reading_order(analysis.faces(pixels))
    looks = [scene.people[place].look for place in reading_order(scene.people)]
    right_count = len(faces) == len(looks)
    verdict = Verdict(right_count, whole["place"] == scene.place, whole["light"] == scene.light)
    if not right_count:
        return replace(verdict, expressions=(False,) * len(looks), directions=(False,) * len(looks))
    asked = _asked(classifiers.face, [face_crop(pixels, face.box_px) for face in faces])
    return replace(
        verdict,
        expressions=_agreement(asked["expression"], [look.expression for look in looks]),
        directions=_agreement(asked["direction"], [look.direction for look in looks]),
    )


def in_reading_order(faces: Sequence[Face]) -> list[Face]:
    """Found faces in the order in which a caption would name them."""

    def place(face: Face) -> tuple[int, float]:
        left, top, right, bottom = face.box_px
        return int((left + right) / 2 / SIZE_PX * COLUMNS), (top + bottom) / 2

    return sorted(faces, key=place)


def _painted(painter: Painter, scenes: Sequence[Scene], seed: int) -> np.ndarray:
    return painter.paint([caption(scene) for scene in scenes], seed)


def _starts(scenes: Sequence[Scene]) -> tqdm:
    return tqdm(range(0, len(scenes), AT_ONCE), desc="painting", disable=None)


def _asked(classifier: Classifier, pictures: Sequence[np.ndarray]) -> dict[str, list[str]]:
    side = (classifier.side_px, classifier.side_px)
    sized = [cv2.resize(picture, side, interpolation=cv2.INTER_AREA) for picture in pictures]
    return classifier.named(signed_pixels(np.stack(sized)))


def _agreement(answers: Sequence[str], expected: Sequence[str]) -> tuple[bool, ...]:
    return tuple(answer == right for answer, right in zip(answers, expected, strict=True))
