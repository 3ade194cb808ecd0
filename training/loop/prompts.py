"""Prompts of the user's own as scenes: who is in each, where, at which size, and by which photos they are known."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator

from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.regions.presets import named_place, row_layout

from ..base.family import Text
from ..base.registry import family_of_module
from ..cache.cache import Cache
from ..cache.entries import BoxFractions
from ..configuration.finetune import Finetune
from ..configuration.prompts import ROW, Place, PromptSettings, check_count
from .batch import ConditioningSpec, placed_people
from .draws import Draws
from .images import sample_image
from .own_tokens import chosen_person
from .prompt_texts import encoded_prompts
from .sampling import Person, Sample
from .step import FrozenModels

COMPARED_PHOTOS = 4  # of each person; more hardly move a mean of cosines
_NOWHERE = np.zeros((5, 2), np.float32)  # landmarks, which only losses read


@dataclass(frozen=True, eq=False)
class PromptPlan:
    """A prompt without its text.

    name       fit for a file
    people     names, in the order of `sample.people`
    sample     of no image: people with boxes and references, and draws
    photos     of each person faces of other photos, which no target is: the held-out ones first
    """

    name: str
    prompt: str
    width_px: int
    height_px: int
    people: tuple[str, ...]
    sample: Sample
    photos: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class PromptScene:
    """A prompt to be generated, always alike."""

    plan: PromptPlan
    text: Text

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def sample(self) -> Sample:
        return self.plan.sample


def prompt_scenes(settings: Finetune, cache: Cache, accelerator: Accelerator) -> tuple[PromptScene, ...]:
    """The scenes of `validation.prompts`. Raises ValueError or FileNotFoundError as `planned` and `encoded_prompts`."""
    plans = planned(settings, cache)
    texts = encoded_prompts(settings, cache, accelerator)
    return tuple(PromptScene(*each) for each in zip(plans, texts, strict=True))


def planned(settings: Finetune, cache: Cache) -> tuple[PromptPlan, ...]:
    """Every prompt with its people. Raises ValueError, with the number of the entry, for a person nobody knows."""
    entries, usual = settings.validation.prompts, _usual_size(cache)
    own = chosen_person(cache, settings.train.identity) if settings.train.mode == "tokens" else ""
    plans = []
    for number, entry in enumerate(entries, start=1):
        try:
            size = (entry.width, entry.height) if entry.width and entry.height else usual
            people = entry.people or dict.fromkeys(_unnamed_people(entry.prompt, number, cache, own), ROW)
            check_count(len(people), settings.data.max_people)
            plans.append(_plan(entry, number, size, people, settings.seed, cache))
        except ValueError as error:
            raise ValueError(f"validation.prompts: entry {number}: {error}") from error
    return tuple(plans)


def generate_prompt(
    scene: PromptScene,
    cache: Cache,
    frozen: FrozenModels,
    socket: AdapterSocket,
    steps: int,
    guidance: float,
    conditioning: ConditioningSpec,
    advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """The image of a prompt from noise that is the same every time, uint8 [H, W, 3]."""
    plan = scene.plan
    people = placed_people(cache, [plan.sample], plan.width_px, plan.height_px, conditioning)
    channels = frozen.vae.config["latent_channels"]
    shape = family_of_module(frozen.transformer).latent_shape(channels, plan.width_px, plan.height_px)
    noise = plan.sample.draws.normal("prompt", (1, *shape))
    return sample_image(noise, scene.text, people, frozen, socket, steps, guidance, advance)


def _plan(
    entry: PromptSettings,
    number: int,
    size: tuple[int, int],
    places: Mapping[str, Place],
    seed: int,
    cache: Cache,
) -> PromptPlan:
    identities = [_identity(name, cache) for name in places]
    references = [_reference(identity, cache) for identity in identities]
    boxes = _boxes(list(places.values()), *size)
    people = tuple(Person(face, box, _NOWHERE, face) for face, box in zip(references, boxes, strict=True))
    photos = tuple(_others(identity, face, cache) for identity, face in zip(identities, references, strict=True))
    draws = Draws(seed if entry.seed is None else entry.seed, 0)
    words = re.sub(r"\W+", "_", entry.name or entry.prompt)[:40].strip("_")
    return PromptPlan(
        f"prompt_{number:02d}_{words}",
        entry.prompt,
        *size,
        tuple(places),
        Sample(-1, 0, people, True, draws),
        photos,
    )


def _unnamed_people(prompt: str, number: int, cache: Cache, own: str) -> list[str]:
    """Those whose names the prompt says as words; else whose tokens are trained; else one person, the next in turn."""
    said = [name for name in cache.identities if _says(prompt, name) or _says(prompt, name.title())]
    if said or own:
        return said or [own]
    if not cache.identities:
        raise ValueError("the cache knows nobody by name, so nobody can be placed")
    return [cache.identities[(number - 1) % len(cache.identities)]]


def _says(prompt: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", prompt) is not None


def _identity(name: str, cache: Cache) -> int:
    if name not in cache.identities:
        raise ValueError(f"nobody in the cache is called {name!r}; known are {', '.join(cache.identities) or 'none'}")
    return cache.identities.index(name)


def _reference(identity: int, cache: Cache) -> int:
    """The person's most typical photo: that nearest to the mean direction of those that are trained on."""
    faces = cache.faces_of(identity) or cache.faces_of(identity, held_out=True)
    if not faces:
        raise ValueError(f"there is no photo of {cache.identities[identity]} in the cache to show the adapter")
    embeddings = cache.arcface[list(faces)].numpy()
    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return faces[int((units @ units.sum(axis=0)).argmax())]


def _others(identity: int, reference: int, cache: Cache) -> tuple[int, ...]:
    """Faces of a person's other photos, those that are held out first."""
    faces = cache.faces_of(identity, held_out=True) + cache.faces_of(identity)
    image = cache.faces[reference].image
    return tuple(face for face in faces if cache.faces[face].image != image)[:COMPARED_PHOTOS]


def _boxes(places: Sequence[Place], width_px: int, height_px: int) -> Iterator[BoxFractions]:
    """A box for each place; all who stand in a row share one."""
    row = places.count(ROW)
    boxes = iter(row_layout(row, width_px, height_px).boxes if row else ())
    for place in places:
        if not isinstance(place, str):
            yield place
        else:
            yield (next(boxes) if place == ROW else named_place(place, width_px, height_px)).as_tuple()


def _usual_size(cache: Cache) -> tuple[int, int]:
    """Width and height of most cached photos in pixels; of several the largest."""
    sizes = Counter((crop.width_px, crop.height_px) for image in cache.images for crop in image.crops)
    return max(sizes, key=lambda size: (sizes[size], size[0] * size[1], size))
