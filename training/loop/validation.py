"""Validation on held-out photos: losses at fixed noise, generated previews, and their scores by independent judges."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.metrics.case import METRICS, CaseScores
from withanyone_core.metrics.summary import judges_mean, statistic

from ..base.registry import family_of_module, velocity
from ..cache.cache import Cache
from ..cache.entries import BoxFractions
from ..configuration.finetune import Finetune
from ..evaluation.measuring import EvaluationModels, case_images, measure_images
from ..evaluation.records import Line
from ..evaluation.report import scores_of
from ..losses.flow import add_noise, target_velocity
from .batch import DEFAULT_CONDITIONING, ConditioningSpec, batch_of_text, placed_people, text_of
from .both_branches import BothBranches
from .draws import Draws
from .log import validation_bar
from .sampling import Person, Sample, Sampler
from .step import FrozenModels

MEASURES = ("sim_gt", "sim_ref", "copy_paste", "leakage")
PREVIEWS = "previews"
_MARGIN = 1.0  # of a face's box, half of it on each side, in an image of a reference


@dataclass(frozen=True, eq=False)
class Scene:
    """A held-out photo to be generated: its sample is always drawn alike. `name` is fit for a file."""

    name: str
    sample: Sample


@dataclass(frozen=True, eq=False)
class Truth:
    """What a preview is compared with, RGB uint8 [H, W, 3]: the held-out photo, and each person's reference."""

    photo: np.ndarray
    references: tuple[np.ndarray, ...]
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(eq=False)
class Validator:
    """Validation of one run; without held-out photos there are no `scenes`.

    both  what generates images, where it is not the trained branch alone
    """

    settings: Finetune
    cache: Cache
    scenes: tuple[Scene, ...]
    frozen: FrozenModels
    socket: AdapterSocket
    conditioning: ConditioningSpec
    evaluation_models: EvaluationModels | None
    both: BothBranches | None = None
    _truths: list[Truth] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        count = self.settings.validation.num_sigmas
        return (*MEASURES, "validation", *(f"validation_{(index + 0.5) / count:.3f}" for index in range(count)))

    def generate(self, is_main: bool = True) -> tuple[list[float], list[np.ndarray]]:
        """Validation losses by sigma, and an image of each scene."""
        validation = self.settings.validation
        models = self.frozen, self.socket
        passes = len(self.scenes) * (validation.num_sigmas + validation.sampling_steps)
        with validation_bar(passes, is_main) as advance:
            guidance = self.settings.noise.guidance
            losses = validation_losses(
                self.cache, self.scenes, *models, validation.num_sigmas, guidance, self.conditioning, advance
            )
            steps, guidance = validation.sampling_steps, validation.guidance
            with self._as_used() as conditioning:
                images = [
                    generate_image(self.cache, scene, *models, steps, guidance, conditioning, advance)
                    for scene in self.scenes
                ]
        return losses, images

    def _as_used(self) -> AbstractContextManager[ConditioningSpec]:
        if self.both is None:
            return nullcontext(self.conditioning)
        return self.both.plugged(self.socket, self.conditioning)

    def score(self, step: int, losses: list[float], images: Sequence[np.ndarray]) -> dict[str, Any]:
        """Writes the previews; the losses and what the judges measured, by name."""
        truths = self._cached_truths()
        folder = self.settings.out / PREVIEWS / f"step-{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for scene, image in zip(self.scenes, images, strict=True):
            (folder / f"{scene.name}.png").write_bytes(encode_png(image))
        numbers: dict[str, Any] = dict.fromkeys(MEASURES)
        if self.evaluation_models is not None:
            lines = score_images(images, truths, self.scenes, self.evaluation_models)
            numbers = headline(lines, self.evaluation_models, self.settings.seed)
        return {"validation": losses, **numbers, "setup": self._setup()}

    def row(self, found: Mapping[str, Any]) -> dict[str, float | None]:
        """What `score` found, by column."""
        losses = found["validation"]
        values = [*(found[name] and found[name]["mean"] for name in MEASURES), sum(losses) / len(losses), *losses]
        return dict(zip(self.columns, values, strict=True))

    def _setup(self) -> str:
        """What images are drawn and judged with; those of another setup cannot be compared with them."""
        validation = self.settings.validation
        judged = "" if self.evaluation_models is None else self.evaluation_models.fingerprint
        weights = "" if self.both is None else f"{validation.resemblance:g}"
        return f"{self.settings.seed} {validation.sampling_steps} {validation.guidance:g} {weights} {judged}"

    def _cached_truths(self) -> list[Truth]:
        if not self._truths:
            self._truths = [truth_of(self.cache, scene, self.frozen) for scene in self.scenes]
            _write_truths(self.settings.out / PREVIEWS / "truth", self.scenes, self._truths)
        return self._truths


def summary(found: Mapping[str, Any]) -> str:
    """What `score` found, on one line."""
    losses = found["validation"]
    means = [f"{name} {found[name]['mean']:.3f}" for name in MEASURES if found[name]]
    return ", ".join([f"loss {sum(losses) / len(losses):.4f}", *means])


def _write_truths(folder: Path, chosen: tuple[Scene, ...], truths: list[Truth]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene, truth in zip(chosen, truths, strict=True):
        (folder / f"{scene.name}.png").write_bytes(encode_png(truth.photo))
        for number, reference in enumerate(truth.references, start=1):
            (folder / f"{scene.name}_reference_{number}.png").write_bytes(encode_png(reference))


def truth_of(cache: Cache, scene: Scene, frozen: FrozenModels) -> Truth:
    sample = scene.sample
    return Truth(
        decode_photo(cache, sample.image, sample.crop, frozen),
        tuple(reference_image(cache, person.reference, frozen) for person in sample.people),
        tuple(person.box for person in sample.people),
    )


def score_images(
    previews: Sequence[np.ndarray],
    truths: Sequence[Truth],
    chosen: Sequence[Scene],
    evaluation_models: EvaluationModels,
) -> list[Line]:
    """A line of scores for each preview [H, W, 3]."""
    lines = []
    for image, truth, scene in zip(previews, truths, chosen, strict=True):
        case = case_images(scene.name, image, truth.photo, truth.references, truth.boxes, evaluation_models)
        lines.append(measure_images(case, evaluation_models))
    return lines


def headline(lines: Sequence[Line], evaluation_models: EvaluationModels, seed: int) -> dict[str, Any]:
    """By metric the mean over previews and the judges training has not used, with its 95 % interval; None without.

    Under "images" each preview's own values, the mean over these judges; "photos" is that of two photos of the person.
    """
    names = [judge.info.name for judge in evaluation_models.judges if not judge.info.trained_with]
    scores = scores_of([line for line in lines if line["scores"]], names) if names else []
    if not scores:
        return dict.fromkeys(METRICS)
    judged = {metric: judges_mean(scores, metric) for metric in METRICS}
    found = {metric: statistic(*values, seed=seed) for metric, values in judged.items()}
    names = sorted(each.name for each in scores[0])
    images = {
        name: {**{metric: judged[metric][0][index] for metric in MEASURES}, "photos": _between_photos(scores, name)}
        for index, name in enumerate(names)
    }
    means = {
        metric: None if value is None else {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}
        for metric, value in found.items()
    }
    return {**means, "images": images}


def _between_photos(judged: Sequence[Sequence[CaseScores]], name: str) -> float | None:
    """The cosine of a held-out photo's faces with their references, the mean over people and judges."""
    people = (person for scores in judged for each in scores if each.name == name for person in each.identities)
    known = [person.sim_tr for person in people if person.sim_tr is not None]
    return float(np.mean(known)) if known else None


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of RGB uint8 [H, W, 3]."""
    # OpenCV writes images from BGR.
    _, found = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    return found.tobytes()


def scenes(cache: Cache, sampler: Sampler, seed: int, most: int, person: str = "", seeds: int = 1) -> tuple[Scene, ...]:
    """Up to `most` held-out photos, evenly over all of them, each face with a reference from another photo.

    person  only photos that show the person of that name, where one is named
    seeds   scenes of each photo, with other noise and references

    Photos with a face of nobody known are passed over where there are others: it has no other photo.
    """
    held_out = [image for image in cache.images if image.held_out and image.crops and image.people]
    if person:
        theirs = {face.image for index, face in enumerate(cache.faces) if cache.name_of(index) == person}
        held_out = [image for image in held_out if image.index in theirs]
    known = [image for image in held_out if all(cache.faces[face.face].identity >= 0 for face in image.crops[0].faces)]
    chosen = known or held_out
    chosen = [chosen[index] for index in np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)]
    found = []
    for image, number_of_seed in product(chosen, range(seeds)):
        # By the photo's own index: its scene is the same whichever others are chosen.
        draws = Draws(seed, number_of_seed, image.index)
        people = []
        for number, face in enumerate(image.crops[0].faces):
            reference = sampler.reference(face.face, draws, f"preview {number}")
            people.append(Person(face.face, face.box, face.landmarks, face.face if reference is None else reference))
        name = f"{image.index:05d}_" + "".join(letter if letter.isalnum() else "_" for letter in image.name)[:40]
        name += f"_seed_{number_of_seed + 1}" if number_of_seed else ""
        found.append(Scene(name, Sample(image.index, 0, tuple(people), True, draws)))
    return tuple(found)


@torch.no_grad()
def generate_image(
    cache: Cache,
    scene: Scene,
    frozen: FrozenModels,
    socket: AdapterSocket,
    steps: int,
    guidance: float,
    conditioning: ConditioningSpec = DEFAULT_CONDITIONING,
    advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """The photo's size, text and people from noise that is the same every time, uint8 [H, W, 3].

    Euler steps over the base model's schedule; `advance` is called after each.
    """
    mean, _ = cache.latent(cache.images[scene.sample.image], scene.sample.crop)
    device = next(frozen.transformer.parameters()).device
    width_px, height_px, _ = cache.bucket(cache.images[scene.sample.image], scene.sample.crop)
    people = placed_people(cache, [scene.sample], width_px, height_px, conditioning).to(device)
    text = batch_of_text(text_of(cache, scene.sample), device)
    shape = (1, *frozen.scale.into_model(mean).shape)
    latent = scene.sample.draws.normal("preview", shape).to(device)
    sigmas = family_of_module(frozen.transformer).sampling_sigmas(steps, width_px, height_px)
    with socket.placed(people):
        for sigma, following in pairwise(sigmas):
            predicted = velocity(frozen.transformer, latent, sigma.expand(1).to(device), text, guidance)
            # In float32; the released program keeps the latent in bf16 between steps.
            latent = latent + (following - sigma).to(device) * predicted
            advance()
    return decode_pixels(frozen, latent)


@torch.no_grad()
def decode_photo(cache: Cache, image: int, crop: int, frozen: FrozenModels) -> np.ndarray:
    """A cached photo as the VAE sees it, uint8 [H, W, 3]."""
    # The posterior's mean, without a draw: every validation compares with the same image.
    mean, _ = cache.latent(cache.images[image], crop)
    device = next(frozen.transformer.parameters()).device
    return decode_pixels(frozen, frozen.scale.into_model(mean)[None].to(device))


@torch.no_grad()
def reference_image(cache: Cache, face: int, frozen: FrozenModels) -> np.ndarray:
    """The part of a cached photo around a face, uint8 [H, W, 3]."""
    image = cache.faces[face].image
    (place,) = [cut for cut in cache.images[image].crops[0].faces if cut.face == face]
    return crop_around(decode_photo(cache, image, 0, frozen), place.box)


def crop_around(image: np.ndarray, box: BoxFractions) -> np.ndarray:
    """The box of an image [H, W, 3] with as much again on each side, as far as there is some."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    across, down = _MARGIN * (x2 - x1) / 2, _MARGIN * (y2 - y1) / 2
    left, right = max(0, int((x1 - across) * width)), min(width, int(np.ceil((x2 + across) * width)))
    top, bottom = max(0, int((y1 - down) * height)), min(height, int(np.ceil((y2 + down) * height)))
    return image[top:bottom, left:right]


def decode_pixels(frozen: FrozenModels, latent_1CHW: Tensor) -> np.ndarray:
    """Latents of one image decoded, uint8 [H, W, 3]. NaN becomes black."""
    values = 127.5 * (frozen.decode(latent_1CHW)[0] + 1)
    # NaN first: as a byte it may be anything.
    return values.nan_to_num(0.0).clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def validation_losses(
    cache: Cache,
    chosen: Sequence[Scene],
    frozen: FrozenModels,
    socket: AdapterSocket,
    num_sigmas: int,
    guidance: float,
    conditioning: ConditioningSpec = DEFAULT_CONDITIONING,
    advance: Callable[[], object] = lambda: None,
) -> list[float]:
    """The flow loss at each of `num_sigmas` sigmas, over held-out photos with noise that is the same each time.

    Sigma i of n is (i + 1/2) / n: uniform, since the sampler passes through all of them. `advance` is called after each
    forward pass.
    """
    device = next(frozen.transformer.parameters()).device
    sums = [0.0] * num_sigmas
    for scene in chosen:
        mean, _ = cache.latent(cache.images[scene.sample.image], scene.sample.crop)
        clean = frozen.scale.into_model(mean)[None].to(device)
        width_px, height_px, _ = cache.bucket(cache.images[scene.sample.image], scene.sample.crop)
        people = placed_people(cache, [scene.sample], width_px, height_px, conditioning).to(device)
        text = batch_of_text(text_of(cache, scene.sample), device)
        with socket.placed(people):
            for index in range(num_sigmas):
                noise = scene.sample.draws.normal(f"validation {index}", tuple(clean.shape)).to(device)
                sigma = torch.tensor([(index + 0.5) / num_sigmas], device=device)
                noisy = add_noise(clean, noise, sigma)
                predicted = velocity(frozen.transformer, noisy, sigma, text, guidance)
                sums[index] += (predicted - target_velocity(clean, noise)).square().mean().item()
                advance()
    return [total / len(chosen) for total in sums]
