"""What learning a person's own tokens brings: people whom nothing was trained on, before and after."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from training.cache.cache import Cache
from training.cache.files import read_cache
from training.finetune import main as finetune
from training.loop.own_tokens import cached_person
from withanyone_core.adapter.shape import Branch
from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.identities.identity_file import load_identity
from withanyone_core.identity import Identity
from withanyone_core.metrics.case import Case, FaceEmbeddings
from withanyone_core.metrics.judges import Judge
from withanyone_core.metrics.scoring import score_case

from ...weights_folder import FACES, VAE
from ...world.captions import caption
from ...world.person import person_of
from ...world.renderer import render
from ...world.scene import SIDE_PX, draw_scene
from ..ablation.commands import RECOGNIZER, model_changes, prepared
from ..folders import TRAINING_RECIPES
from ..recipes.photos import PhotoSet, write_photos
from ..recipes.scenes import TRAINING_PEOPLE
from ..steering import ImageRequest, SteeredGenerator
from .dataset import spot_boxes
from .faces import JUDGE
from .figures import Figure, mean, percentage
from .results import Results

SECTION = "tokens"
FIRST_PERSON = TRAINING_PEOPLE + 650_000  # of people kept for evidence
SPARE = 4  # people beyond those asked for: some are so alike that prepare.py leaves their folders out
SEED = 61_000
MEASURES = ("Sim(GT)", "Sim(Ref)", "copy-paste")
CHANGE = "change of "
GOALS = {"Sim(GT)": {"target": 0.0}, "copy-paste": {"target": 0.05, "at_most": True}}
INTERRUPTED = 130  # what finetune.py ends with
_SMALL_WORLD = (
    "base.precision=bf16",
    "optim.batch_size=4",
    "optim.gradient_accumulation_steps=1",
    "memory.gradient_checkpointing=false",
    "memory.vae_gradient_checkpointing=false",
    # stronger than in training/recipes/tokens.yaml: drawn people differ in less than people do
    "optim.lr=2e-2",
    "id_loss.weight=1.0",
    "id_loss.max_sigma=0.8",
    "nce.weight=0.5",
    "validation.num_images=0",
    "save.keep=1",
    "device=cpu",
)


@dataclass(frozen=True)
class Trial:
    """What is tried.

    weights   folder of the small world's models, `adapter` the file that reads the tokens
    scratch   for photos, their cache and the runs
    people    whose tokens are learned, from `photos` of each, in `steps`
    images  generated of each, before and after: by turns of the person alone and beside somebody without own tokens
    changes   settings of finetune.py besides those of training/recipes/tokens.yaml
    """

    weights: Path
    adapter: Path
    scratch: Path
    people: int
    photos: int
    steps: int
    images: int
    changes: tuple[str, ...] = ()
    bf16: bool = True


@dataclass(frozen=True)
class Measured:
    """One person, with MEASURES of each image before and after. None where there is nothing to compare; a person who
    is not in an image counts as 0 in both likenesses.
    """

    number: int
    name: str
    seconds: float
    file_mb: float
    before: list[list[float | None]]
    after: list[list[float | None]]


@dataclass(frozen=True, eq=False)
class Eyes:
    """Who generates, finds faces and judges."""

    generator: SteeredGenerator
    analysis: FaceAnalysis
    judge: Judge

    def embeddings(self, pixels: np.ndarray) -> FaceEmbeddings:
        faces = self.analysis.faces(pixels)
        return FaceEmbeddings.of(faces, self.judge.embed(pixels, faces))


def cache_of(trial: Trial) -> Path:
    """The prepared photos, made unless they are there."""
    photos, cache = trial.scratch / "photos", trial.scratch / "cache"
    write_photos(PhotoSet(FIRST_PERSON, trial.people + SPARE, trial.photos, groups=0), photos, workers=1)
    models = {f"encoders.{name}": f"{name}.safetensors" for name in ("t5", "clip", "siglip")}
    models |= {"encoders.vae": VAE, "faces.pack": FACES, "faces.second": JUDGE}
    changes = [f"{key}={trial.weights / file}" for key, file in models.items()]
    return prepared(photos, cache, (*changes, "held_out=0", "crops=1", "workers=1", "unclear_folders=leave_out"))


def measure_people(trial: Trial, eyes: Eyes, folder: Path, results: Results) -> None:
    """Learns and measures whoever is not in the results yet.

    Raises ValueError where too few of the people can be told apart, RuntimeError where a training failed.
    """
    cache, known = read_cache(folder), results.rows(SECTION)
    if len(cache.identities) <= trial.people:
        raise ValueError(f"{len(cache.identities)} people were prepared; expected more than {trial.people}.")
    for number in range(trial.people):
        if number not in known:
            results.append(SECTION, [_measured(trial, eyes, cache, folder, number)])


def figures_of(people: Sequence[dict[str, Any]]) -> tuple[Figure, ...]:
    """Lines of the results as figures; intervals are over people, each with all of their images."""
    before, after = (np.array([line[when] for line in people], float) for when in ("before", "after"))
    whose = np.repeat(np.arange(len(people)), before.shape[1])
    found = []
    for place, name in enumerate(MEASURES):
        pair = before[:, :, place].ravel(), after[:, :, place].ravel()
        kept = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
        first, second = (values[kept] for values in pair)
        found.append(mean(f"{name} of an identity from the photos", first, whose[kept]))
        found.append(mean(f"{name} with own tokens", second, whose[kept]))
        if name in GOALS:
            found.append(mean(CHANGE + name, second - first, whose[kept], **GOALS[name]))
    seen = [~np.isnan(values[:, :, 2]).ravel() for values in (before, after)]
    return (
        *found,
        percentage("images with the person's face, from the photos", seen[0]),
        percentage("images with the person's face, own tokens", seen[1]),
        mean("training of one person", np.array([line["seconds"] for line in people]), unit="s"),
        mean("size of the identity file", np.array([line["file_mb"] for line in people]), unit="MB"),
    )


def _measured(trial: Trial, eyes: Eyes, cache: Cache, folder: Path, number: int) -> Measured:
    name = cache.identities[number]
    started = time.monotonic()
    path = _learned(trial, folder, name)
    seconds = time.monotonic() - started
    own = load_identity(path)
    plain, other = (_from_photos(trial, cache, each) for each in (name, cache.identities[number + 1]))
    shots = [_pixels(cache, face) for face in cache.faces_of(number)]
    seen = [faces for faces in map(eyes.embeddings, shots) if faces.count]
    wishes, scenes = zip(*(_wish(number, place, plain, other) for place in range(trial.images)), strict=True)
    images = [*wishes, *(replace(wish, people=(own, *wish.people[1:])) for wish in wishes)]
    weights = dict.fromkeys((branch for branch in Branch if getattr(own.learned, branch.value) is not None), 1.0)
    with torch.autocast("cpu", torch.bfloat16) if trial.bf16 else nullcontext():
        generated = eyes.generator.generate(images, weights=weights, what=name)
    scores = [
        _scores(eyes, pixels, scene, wish, seen)
        for pixels, scene, wish in zip(generated, (*scenes, *scenes), images, strict=True)
    ]
    return Measured(number, name, seconds, path.stat().st_size / 1e6, scores[: trial.images], scores[trial.images :])


def _learned(trial: Trial, folder: Path, name: str) -> Path:
    """The person's identity file by `finetune.py`, which resumes where it was stopped."""
    out = trial.scratch / "runs" / name
    given = (
        *model_changes(trial.weights, folder),
        *_SMALL_WORLD,
        f"adapter.init={trial.adapter}",
        f"train.identity={name}",
        f"optim.steps={trial.steps}",
        f"validation.every_steps={trial.steps}",
        f"save.every_steps={trial.steps}",
        f"out={out}",
        *trial.changes,
    )
    status = finetune([str(TRAINING_RECIPES / "tokens.yaml"), *given])
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise RuntimeError(f"The training of {name}'s tokens failed; its own words stand above.")
    return out / f"{name}.safetensors"


def _from_photos(trial: Trial, cache: Cache, name: str) -> Identity:
    """The identity of the same photos that the tokens are started from."""

    def missing(image: int) -> np.ndarray:
        raise ValueError(f"The photo {cache.images[image].source} is missing.")

    return cached_person(cache, name, trial.weights / FACES / RECOGNIZER, missing).identity


def _pixels(cache: Cache, face: int) -> np.ndarray:
    """The photo of a face, uint8 RGB [H, W, 3]."""
    return cv2.imread(cache.images[cache.faces[face].image].source)[..., ::-1].copy()


def _wish(number: int, place: int, person: Identity, other: Identity) -> tuple[ImageRequest, np.ndarray]:
    """An image to ask for, and the same drawn by the renderer, uint8 RGB [SIDE_PX, SIDE_PX, 3]."""
    count = 1 + place % 2
    shown = [int(each.name.removeprefix("person_")) for each in (person, other)[:count]]
    rng = np.random.default_rng([SEED, number, place])
    scene = draw_scene(rng, [person_of(index) for index in shown])
    request = ImageRequest(caption(scene), SEED + 100 * number + place, (person, other)[:count], spot_boxes(scene))
    return request, render(scene, SIDE_PX, SIDE_PX).pixels


def _scores(
    eyes: Eyes, pixels: np.ndarray, drawn: np.ndarray, wish: ImageRequest, photos: Sequence[FaceEmbeddings]
) -> list[float | None]:
    """MEASURES of the first of an image's people, means over the photos they were learned from as references."""
    boxes_px = tuple(box.to_px(SIDE_PX, SIDE_PX) for box in wish.regions)
    generated, truth = eyes.embeddings(pixels), eyes.embeddings(drawn)
    found = []
    for photo in photos:
        # Boxes say who is whom; the photo stands for the others too, of whom nothing is asked.
        references = (photo,) * len(wish.people)
        score = score_case(Case("an image", generated, truth, references, boxes_px, boxes_px)).identities[0]
        found.append((score.sim_gt, score.sim_ref, score.copy_paste))
    columns = zip(*found, strict=True)
    return [None if None in column else float(np.mean(column)) for column in columns]
