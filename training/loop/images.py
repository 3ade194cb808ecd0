"""Images of a run: sampled by the base model with the adapter, or decoded from what the cache holds of a photo."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.injection.placed_people import PlacedPeople

from ..base.family import Text
from ..base.registry import family_of_module, velocity
from ..cache.cache import Cache
from ..cache.entries import BoxFractions
from .batch import batch_of_text
from .step import FrozenModels

_MARGIN = 1.0  # of a face's box, half of it on each side, in an image of a reference


@torch.no_grad()
def sample_image(
    noise_1CHW: Tensor,
    text: Text,
    people: PlacedPeople,
    frozen: FrozenModels,
    socket: AdapterSocket,
    steps: int,
    guidance: float,
    advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """The image that noise becomes, uint8 [H, W, 3].

    Euler steps over the base model's schedule; `advance` is called after each.

    text  one, without a batch's dimension
    """
    device = next(frozen.transformer.parameters()).device
    batch, latent = batch_of_text(text, device), noise_1CHW.to(device)
    family = family_of_module(frozen.transformer)
    height_px, width_px = (family.latent_px * side for side in latent.shape[-2:])
    with socket.placed(people.to(device)):
        for sigma, following in pairwise(family.sampling_sigmas(steps, width_px, height_px)):
            predicted = velocity(frozen.transformer, latent, sigma.expand(1).to(device), batch, guidance)
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


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of RGB uint8 [H, W, 3]."""
    # OpenCV writes images from BGR.
    _, found = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    return found.tobytes()
