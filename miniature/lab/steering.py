"""Images of given people in given places by the shipped models and an adapter, in batches, without ComfyUI."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm
from transformers import SiglipVisionModel

from withanyone_core.adapter.checkpoint import AdapterFile, inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.adapter.strength import branch_weights
from withanyone_core.faces.analysis import load_face_analysis
from withanyone_core.faces.face_analysis import FaceAnalysis
from withanyone_core.faces.portrait import Choices, identity_from_photos
from withanyone_core.faces.siglip import pixel_values
from withanyone_core.identity import Identity
from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.injection.placed_people import PlacedPeople
from withanyone_core.injection.placing import placed_identities
from withanyone_core.regions.layout import Region

from ..generation import GUIDANCE, STEPS, ImageGenerator, noise, shipped_generator
from ..weights_folder import ADAPTER, FACES, SIGLIP, WEIGHTS
from ..world.person import person_of
from ..world.renderer import render
from ..world.scene import SIDE_PX, draw_portrait
from .recipes.siglip import SIDE_PX as SIGLIP_PX
from .recipes.siglip import TOWER, config

AT_ONCE = 32
RESEMBLANCE = 0.5  # where Apply WithAnyone's slider stands when the node is new
DETECTION_PX = 320
PHOTO_PX = 256  # as the node Miniature Photos draws them

Encoder = Callable[[np.ndarray], Tensor]  # a face crop uint8 [H, W, 3] to patch tokens [patches, width]


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """An image to generate: who stands where. `regions` holds a place for each of the people, in their order."""

    caption: str
    seed: int
    people: tuple[Identity, ...] = ()
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        if len(self.people) != len(self.regions):
            raise ValueError(f"{len(self.people)} people were given {len(self.regions)} places; expected as many.")


@dataclass(frozen=True)
class SteeredGenerator:
    """The shipped base model with an adapter beside it: its network, and the file that it came from."""

    generator: ImageGenerator
    adapter: AdapterNetwork
    file: AdapterFile

    def generate(
        self,
        images: Sequence[ImageRequest],
        resemblance: float = RESEMBLANCE,
        weights: Mapping[Branch, float] | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        what: str = "generating",
        watch: Callable[[int, int, Tensor], None] = lambda start, step, clean: None,
    ) -> np.ndarray:
        """The images, uint8 RGB [images, SIDE_PX, SIDE_PX, 3]; each depends on nothing but its own wishes.

        resemblance  what Apply WithAnyone's slider would say, from 0 (arc alone) to 1 (sig alone)
        weights      of the branches, in place of the slider; with 0 for all of them the base model is alone
        what         shown beside the bar
        watch        called after each step of each block of AT_ONCE images with the place of the block's first image,
                     the step, from 1, and the clean estimate of the latents
        """
        if weights is None:
            weights = branch_weights(self.adapter.shapes, resemblance)
        starts = tqdm(range(0, len(images), AT_ONCE), desc=what, disable=None)
        made = [
            self._generated(images[at : at + AT_ONCE], weights, steps, guidance, partial(watch, at)) for at in starts
        ]
        return np.concatenate([np.zeros((0, SIDE_PX, SIDE_PX, 3), np.uint8), *made])

    @torch.inference_mode()
    def _generated(
        self,
        images: Sequence[ImageRequest],
        weights: Mapping[Branch, float],
        steps: int,
        guidance: float,
        watch: Callable[[int, Tensor], None],
    ) -> np.ndarray:
        latents = torch.cat([noise(1, image.seed) for image in images])
        steered = any(image.people for image in images) and any(weights.values())
        socket = AdapterSocket(self.generator.model.flux, self.adapter, weights)
        try:
            people = self._placed(images, socket.weights) if steered else None
            captions = [image.caption for image in images]
            return self.generator.from_noise(latents, captions, steps, guidance, lambda: socket.placed(people), watch)
        finally:
            socket.remove()

    def _placed(self, images: Sequence[ImageRequest], branches: Collection[Branch]) -> PlacedPeople:
        people = [image.people for image in images]
        return placed_identities(people, [image.regions for image in images], SIDE_PX, SIDE_PX, self.file, branches)


@dataclass(frozen=True, eq=False)
class PhotoReader:
    """Photos to identities, as the nodes of the pack make them."""

    analysis: FaceAnalysis
    encode: Encoder

    def identity(self, photos: Sequence[np.ndarray], name: str, combine: str = "first") -> Identity:
        """The person in RGB photos [H, W, 3] uint8; photos in which no face is found are passed over."""
        choices = Choices(combine=combine, no_face="skip")
        return identity_from_photos(photos, self.analysis, name, choices, self.encode)[0]

    def identity_of(self, number: int, series: int = 0, photos: int = 1) -> Identity:
        """Person `number` of the world, in as many portraits of a series."""
        return self.identity([portrait(number, series, photo) for photo in range(photos)], f"person {number}", "mean")


def portrait(number: int, series: int, photo: int, side_px: int = PHOTO_PX) -> np.ndarray:
    """A photo of person `number`, uint8 RGB [side, side, 3], in an expression, pose and light of its own."""
    rng = np.random.default_rng([series, photo, number])
    return render(draw_portrait(rng, person_of(number)), side_px, side_px).pixels


def shipped_steered_generator(folder: Path = WEIGHTS, adapter: Path | None = None) -> SteeredGenerator:
    """The generator of a folder of weights with the adapter in it, or with another adapter's file."""
    file = inspect_adapter(folder / ADAPTER if adapter is None else adapter)
    network = AdapterNetwork.load(file, dtype=torch.float32).eval().requires_grad_(False)
    return SteeredGenerator(shipped_generator(folder), network, file)


def shipped_photo_reader(folder: Path = WEIGHTS) -> PhotoReader:
    """The face pack and the patch encoder of a folder of weights."""
    return PhotoReader(load_face_analysis(folder / FACES, det_size=DETECTION_PX), shipped_siglip(folder))


def shipped_siglip(folder: Path = WEIGHTS) -> Encoder:
    """The patch encoder of a folder of weights."""
    tower = SiglipVisionModel(config()).eval().requires_grad_(False)
    own, stored = tower.state_dict(), load_file(folder / SIGLIP)
    # Recent versions of transformers leave the first part of the names out.
    tower.load_state_dict({key if key in own else key.removeprefix(TOWER): stored[key].float() for key in stored})

    @torch.inference_mode()
    def encode(crop: np.ndarray) -> Tensor:
        return tower(pixel_values=pixel_values(crop, SIGLIP_PX)).last_hidden_state[0]

    return encode
