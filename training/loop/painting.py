"""Images from the adapter as it stands: held-out photos painted anew, by references from the photos trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.schedule import released_sigmas

from ..cache.cache import Cache
from ..cache.entries import BoxFractions
from ..losses.flow import add_noise, target_velocity
from .batch import PLAIN, Reading, placed_people, text_of
from .draws import Draws
from .sampling import Person, Sample, Sampler
from .step import Frozen
from .velocity import velocity

_PLAIN_AROUND = 1.0  # of a face's box on each side, in an image of a reference


@dataclass(frozen=True, eq=False)
class Scene:
    """A held-out photo to be painted: its sample is always drawn alike. `name` is fit for a file."""

    name: str
    sample: Sample


def scenes(cache: Cache, sampler: Sampler, seed: int, most: int, person: str = "") -> tuple[Scene, ...]:
    """Up to `most` held-out photos, evenly over all of them, each face with a reference from another photo.

    person  only photos that show the person of that name, where one is named

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
    for image in chosen:
        draws = Draws(seed, 0, image.index)
        people = []
        for number, face in enumerate(image.crops[0].faces):
            reference = sampler.reference(face.face, draws, f"preview {number}")
            people.append(Person(face.face, face.box, face.landmarks, face.face if reference is None else reference))
        name = f"{image.index:05d}_" + "".join(letter if letter.isalnum() else "_" for letter in image.name)[:40]
        found.append(Scene(name, Sample(image.index, 0, tuple(people), True, draws)))
    return tuple(found)


@torch.no_grad()
def painted(
    cache: Cache,
    scene: Scene,
    frozen: Frozen,
    socket: AdapterSocket,
    steps: int,
    guidance: float,
    reading: Reading = PLAIN,
) -> np.ndarray:
    """The photo's size, text and people from noise that is the same every time, uint8 [H, W, 3].

    Euler steps over the released schedule, as a ComfyUI workflow with WithAnyone Scheduler takes them.
    """
    mean, _ = cache.latent(cache.images[scene.sample.image], scene.sample.crop)
    device = next(frozen.transformer.parameters()).device
    height_px, width_px = (8 * side for side in mean.shape[-2:])
    people = placed_people(cache, [scene.sample], width_px, height_px, reading).to(device)
    t5, pooled = (value[None].to(device) for value in text_of(cache, scene.sample))
    latent = scene.sample.draws.normal("preview", (1, *mean.shape)).to(device)
    sigmas = released_sigmas(steps, width_px, height_px)
    with socket.placed(people):
        for level, following in pairwise(sigmas):
            levels = level.expand(1).to(device)
            predicted = velocity(frozen.transformer, latent, levels, t5, pooled, guidance)
            latent = latent + (following - level).to(device) * predicted
    return pixels(frozen, latent)


@torch.no_grad()
def original(cache: Cache, image: int, crop: int, frozen: Frozen) -> np.ndarray:
    """A cached photo as the VAE sees it, uint8 [H, W, 3]."""
    mean, _ = cache.latent(cache.images[image], crop)
    device = next(frozen.transformer.parameters()).device
    return pixels(frozen, frozen.scale.into_model(mean)[None].to(device))


@torch.no_grad()
def reference_image(cache: Cache, face: int, frozen: Frozen) -> np.ndarray:
    """The part of a cached photo around a face, uint8 [H, W, 3]."""
    image = cache.faces[face].image
    (place,) = [cut for cut in cache.images[image].crops[0].faces if cut.face == face]
    return around(original(cache, image, 0, frozen), place.box)


def around(image: np.ndarray, box: BoxFractions) -> np.ndarray:
    """The box of an image [H, W, 3] with as much again on each side, as far as there is some."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    across, down = _PLAIN_AROUND * (x2 - x1) / 2, _PLAIN_AROUND * (y2 - y1) / 2
    left, right = max(0, int((x1 - across) * width)), min(width, int(np.ceil((x2 + across) * width)))
    top, bottom = max(0, int((y1 - down) * height)), min(height, int(np.ceil((y2 + down) * height)))
    return image[top:bottom, left:right]


def pixels(frozen: Frozen, latent_1CHW: Tensor) -> np.ndarray:
    """Latents of one image decoded, uint8 [H, W, 3]. Values that are no numbers are black."""
    latent = frozen.scale.out_of_model(latent_1CHW).to(frozen.vae.dtype)
    values = 127.5 * (frozen.vae.decode(latent, return_dict=False)[0][0].float() + 1)
    return values.nan_to_num(0.0).clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def validation_losses(
    cache: Cache,
    chosen: Sequence[Scene],
    frozen: Frozen,
    socket: AdapterSocket,
    levels: int,
    guidance: float,
    reading: Reading = PLAIN,
) -> list[float]:
    """The flow loss at each of `levels` even noise levels, over held-out photos with noise that is the same each time.

    Level i of n is (i + 1/2) / n: uniform, since the sampler passes through all of them.
    """
    device = next(frozen.transformer.parameters()).device
    sums = [0.0] * levels
    for scene in chosen:
        mean, _ = cache.latent(cache.images[scene.sample.image], scene.sample.crop)
        clean = frozen.scale.into_model(mean)[None].to(device)
        people = placed_people(cache, [scene.sample], 8 * mean.shape[2], 8 * mean.shape[1], reading).to(device)
        t5, pooled = (value[None].to(device) for value in text_of(cache, scene.sample))
        with socket.placed(people):
            for index in range(levels):
                noise = scene.sample.draws.normal(f"validation {index}", tuple(clean.shape)).to(device)
                level = torch.tensor([(index + 0.5) / levels], device=device)
                noisy = add_noise(clean, noise, level)
                predicted = velocity(frozen.transformer, noisy, level, t5, pooled, guidance)
                sums[index] += (predicted - target_velocity(clean, noise)).square().mean().item()
    return [total / len(chosen) for total in sums]
