"""Validation on held-out photos: losses at fixed noise, generated previews, and their scores by independent judges."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from withanyone_core.injection.diffusers import AdapterSocket

from ..base.registry import velocity
from ..cache.cache import Cache
from ..configuration.finetune import Finetune
from ..evaluation.measuring import EvaluationModels
from ..losses.flow import add_noise, target_velocity
from .batch import DEFAULT_CONDITIONING, ConditioningSpec, batch_of_text, placed_people, text_of
from .both_branches import BothBranches
from .draws import Draws
from .images import decode_photo, encode_png, reference_image, sample_image
from .log import validation_bar
from .preview_scores import MEASURES, Truth, headline, score_images
from .prompt_scores import MEASURES as PROMPT_MEASURES
from .prompt_scores import KnownPeople, known_people, score_prompts
from .prompts import PromptScene, generate_prompt
from .sampling import Person, Sample, Sampler
from .step import FrozenModels

PREVIEWS = "previews"


@dataclass(frozen=True, eq=False)
class Scene:
    """A held-out photo to be generated: its sample is always drawn alike. `name` is fit for a file."""

    name: str
    sample: Sample


@dataclass(eq=False)
class Validator:
    """Validation of one run; without held-out photos there are no `scenes`.

    both     what generates images, where it is not the trained branch alone
    prompts  of the user's own, generated and scored beside the scenes; no judgement counts them
    """

    settings: Finetune
    cache: Cache
    scenes: tuple[Scene, ...]
    frozen: FrozenModels
    socket: AdapterSocket
    conditioning: ConditioningSpec
    evaluation_models: EvaluationModels | None
    both: BothBranches | None = None
    prompts: tuple[PromptScene, ...] = ()
    _truths: list[Truth] = field(default_factory=list)
    _known: list[KnownPeople] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        count = self.settings.validation.num_sigmas
        losses = (f"validation_{(index + 0.5) / count:.3f}" for index in range(count))
        of_prompts = (f"prompts_{name}" for name in PROMPT_MEASURES) if self.prompts else ()
        return (*MEASURES, "validation", *losses, *of_prompts)

    @property
    def shown(self) -> tuple[Scene | PromptScene, ...]:
        """All that is generated, in this order."""
        return (*self.scenes, *self.prompts)

    def generate(self, is_main: bool = True) -> tuple[list[float], list[np.ndarray]]:
        """Validation losses by sigma (none without scenes), and an image of each of `shown`."""
        validation = self.settings.validation
        models = self.frozen, self.socket
        passes = len(self.scenes) * validation.num_sigmas + len(self.shown) * validation.sampling_steps
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
                images += [
                    generate_prompt(scene, self.cache, *models, steps, guidance, conditioning, advance)
                    for scene in self.prompts
                ]
        return losses, images

    def _as_used(self) -> AbstractContextManager[ConditioningSpec]:
        if self.both is None:
            return nullcontext(self.conditioning)
        return self.both.plugged(self.socket, self.conditioning)

    def score(self, step: int, losses: list[float], images: Sequence[np.ndarray]) -> dict[str, Any]:
        """Writes the previews; the losses and what the judges measured, by name."""
        truths, known = self._cached_truths(), self._known_people()
        folder = self.settings.out / PREVIEWS / f"step-{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for scene, image in zip(self.shown, images, strict=True):
            (folder / f"{scene.name}.png").write_bytes(encode_png(image))
        numbers: dict[str, Any] = dict.fromkeys(MEASURES)
        models, seed, count = self.evaluation_models, self.settings.seed, len(self.scenes)
        if models is not None:
            lines = score_images(images[:count], truths, [scene.name for scene in self.scenes], models)
            numbers = headline(lines, models, seed)
            if self.prompts:
                numbers["prompts"] = score_prompts(images[count:], self.prompts, known, models, seed)
        return {"validation": losses, **numbers, "setup": self._setup()}

    def row(self, found: Mapping[str, Any]) -> dict[str, float | None]:
        """What `score` found, by column."""
        losses, of_prompts = found["validation"], found.get("prompts", {})
        values = {name: found[name] and found[name]["mean"] for name in MEASURES}
        values |= {f"prompts_{name}": of_prompts.get(name) and of_prompts[name]["mean"] for name in PROMPT_MEASURES}
        by_sigma = [name for name in self.columns if name.startswith("validation_")]
        values |= {"validation": mean_loss(found), **dict(zip(by_sigma, losses, strict=False))}
        return {name: values.get(name) for name in self.columns}

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

    def _known_people(self) -> list[KnownPeople]:
        if not self._known and self.prompts:
            self._known = [known_people(self.cache, scene, self.frozen) for scene in self.prompts]
            references = [known.references for known in self._known]
            _write_references(self.settings.out / PREVIEWS / "truth", self.prompts, references)
        return self._known


def mean_loss(found: Mapping[str, Any]) -> float | None:
    """The validation loss over all sigmas; None where no held-out photo was there to compute it on."""
    losses = found["validation"]
    return sum(losses) / len(losses) if losses else None


def summary(found: Mapping[str, Any]) -> str:
    """What `score` found, on one line."""
    loss, of_prompts = mean_loss(found), found.get("prompts", {})
    means = [f"{name} {found[name]['mean']:.3f}" for name in MEASURES if found[name]]
    means += [f"{name} of prompts {of_prompts[name]['mean']:.3f}" for name in PROMPT_MEASURES if of_prompts.get(name)]
    return ", ".join([*([] if loss is None else [f"loss {loss:.4f}"]), *means]) or "images only"


def _write_truths(folder: Path, chosen: tuple[Scene, ...], truths: list[Truth]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene, truth in zip(chosen, truths, strict=True):
        (folder / f"{scene.name}.png").write_bytes(encode_png(truth.photo))
    _write_references(folder, chosen, [truth.references for truth in truths])


def _write_references(
    folder: Path, chosen: Sequence[Scene | PromptScene], references: Sequence[Sequence[np.ndarray]]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene, of_scene in zip(chosen, references, strict=True):
        for number, reference in enumerate(of_scene, start=1):
            (folder / f"{scene.name}_reference_{number}.png").write_bytes(encode_png(reference))


def truth_of(cache: Cache, scene: Scene, frozen: FrozenModels) -> Truth:
    sample = scene.sample
    return Truth(
        decode_photo(cache, sample.image, sample.crop, frozen),
        tuple(reference_image(cache, person.reference, frozen) for person in sample.people),
        tuple(person.box for person in sample.people),
    )


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

    `advance` is called after each step of the sampler.
    """
    mean, _ = cache.latent(cache.images[scene.sample.image], scene.sample.crop)
    width_px, height_px, _ = cache.bucket(cache.images[scene.sample.image], scene.sample.crop)
    people = placed_people(cache, [scene.sample], width_px, height_px, conditioning)
    noise = scene.sample.draws.normal("preview", (1, *frozen.scale.into_model(mean).shape))
    return sample_image(noise, text_of(cache, scene.sample), people, frozen, socket, steps, guidance, advance)


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
    return [total / len(chosen) for total in sums] if chosen else []
