"""Memory of a validation: one image is sampled and decoded, with both branches of the adapter where it has two."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket

from ..base.registry import velocity
from ..configuration.finetune import Finetune
from ..loop.both_branches import joined
from .counting import LiveBytes, tensor_bytes
from .dry_run import DummyModels
from .fake_tensors import PATCHES, AssumeOnes, BatchShape

OTHER_BRANCH, IMAGE, KEPT_WEIGHTS = "the branch not trained", "an image", "trained weights, beside their average"


def is_validated(settings: Finetune) -> bool:
    """Whether anything is generated while a run trains, as far as the settings say."""
    return bool(settings.validation.num_images or settings.validation.prompts)


def validation_bytes(models: DummyModels, shape: BatchShape, settings: Finetune) -> Mapping[str, int]:
    """Bytes of a validation beside all that is there while the run trains, by what they are; gradients are gone then.

    shape  of the run's largest pass, whose photos have the sizes of those held out
    """
    if not is_validated(settings):
        return {}
    other = [] if models.other is None else [*models.other.parameters(), *models.other.buffers()]
    trained = tensor_bytes(models.adapter.trained)
    return {
        OTHER_BRANCH: tensor_bytes(other),
        # The averages take the place of the weights, which are kept aside.
        KEPT_WEIGHTS: trained if settings.optim.ema else 0,
        IMAGE: _image_bytes(models, _shape_of(models, shape, settings)),
    }


def _shape_of(models: DummyModels, shape: BatchShape, settings: Finetune) -> BatchShape:
    """Of the largest image, in which everybody's tokens are read by all branches."""
    sizes = [(entry.width, entry.height) for entry in settings.validation.prompts if entry.width and entry.height]
    width_px, height_px = max([(shape.width_px, shape.height_px), *sizes], key=lambda size: size[0] * size[1])
    # As much of the image in somebody's place.
    covered = min(1.0, shape.covered / shape.tokens)
    largest = replace(shape, width_px=width_px, height_px=height_px, batch=1)
    widths = [each.siglip_width for each in _networks(models).shapes.values() if each.branch is Branch.SIG]
    return replace(
        largest,
        covered=round(covered * largest.tokens),
        siglip=shape.siglip or next(((PATCHES, width) for width in widths), None),
    )


def _image_bytes(models: DummyModels, shape: BatchShape) -> int:
    """The peak of one step of the sampler, and of decoding."""
    transformer = models.frozen.transformer
    both = _networks(models)
    weights = models.weights if models.other is None else dict.fromkeys(both.shapes, 0.5)
    socket = AdapterSocket(transformer, both, weights)
    batch = models.fakes.batch(shape, models.adapter.learned)
    counted = LiveBytes()
    try:
        with torch.no_grad(), counted, AssumeOnes():
            with socket.placed(batch.people):
                latent = velocity(transformer, batch.noise_BCHW, batch.sigmas_B, batch.text, guidance=1.0)
            models.frozen.decode(latent)
    finally:
        socket.remove()
    return counted.peak


def _networks(models: DummyModels) -> AdapterNetwork:
    return models.adapter.network if models.other is None else joined(models.adapter.network, models.other)
