"""Settings and prepared photos to what a rehearsal takes: models without data, and the largest pass."""

from collections.abc import Iterator, Mapping

import torch

from withanyone_core.adapter.shape import Branch
from withanyone_core.regions.cells import box_cells
from withanyone_core.regions.layout import Box

from ..base.flux import read_configuration
from ..base.vae import load_vae
from ..cache.cache import Cache
from ..cache.entries import CropEntry
from ..configuration.finetune import Finetune
from ..configuration.phases import phase_ends
from ..configuration.reading import set_key
from ..loop.opening import siglip_width
from ..loop.source import Sources
from ..loop.step import Frozen
from ..loop.trained import Sizes, branch_shapes, branch_weights
from ..losses.arcface import Recognizer
from .hollow import Hollow, Load
from .packing import compute_dtype
from .rehearsal import Cast


def cast_of(settings: Finetune, cache: Cache) -> Cast:
    """Models of the sizes that the settings' files have; the base model's and the adapter's weights are not read.

    Raises as `open_session` for files that are missing or of another kind.
    """
    hollow, precision = Hollow(), settings.base.precision
    transformer = hollow.transformer(read_configuration(settings.base.path), precision)
    # VAE and recognizer are a hundredth of the base model: reading them is as quick as reading headers.
    vae, scale = load_vae(settings.base.vae or settings.base.path, compute_dtype(precision))
    recognizer = settings.id_loss.recognizer and hollow.emptied(Recognizer.load(settings.id_loss.recognizer))
    layers = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
    sizes = Sizes(transformer.inner_dim, layers, cache.arcface.shape[1], siglip_width(cache))
    adapter = hollow.adapter(branch_shapes(settings.adapter, sizes), settings.train, compute_dtype(precision))
    frozen = Frozen(transformer, hollow.emptied(vae), scale, recognizer)
    return Cast(hollow, frozen, adapter, branch_weights(settings.adapter))


def largest_load(settings: Finetune, sources: Sources) -> Load:
    """The largest pass that any phase of a run can draw.

    ValueError where nothing can be drawn.
    """
    loads = [load_of(part, sources.at(part).cache) for part in phases_of(settings)]
    return max(loads, key=lambda load: (load.batch * load.tokens, load.covered))


def load_of(settings: Finetune, cache: Cache) -> Load:
    """A pass of the largest crops, with as many people as one of them has, and as much of it in their places."""
    crops = list(_crops(cache, settings.data.max_people))
    area = max(crop.width_px * crop.height_px for crop in crops)
    largest = [crop for crop in crops if crop.width_px * crop.height_px == area]
    people = max(len(crop.faces) for crop in largest)
    text, with_bank = cache.dummy_text(0), settings.nce.weight > 0 and settings.nce.negatives > 0
    reads_siglip = Branch.SIG in branch_weights(settings.adapter)
    tokens = cache.face(0).siglip
    return Load(
        largest[0].width_px,
        largest[0].height_px,
        settings.optim.batch,
        people,
        people if settings.id_loss.recognizer is not None else 0,
        max(map(covered, largest)),
        (*text.t5.shape, text.pooled.shape[-1]),
        cache.arcface.shape[1],
        tuple(tokens.shape) if reads_siglip and tokens is not None else None,
        (len(cache.negatives.vectors), settings.nce.negatives) if with_bank else (0, 0),
        cache.latent(cache.images[0], 0)[0].shape[0],
    )


def covered(crop: CropEntry) -> int:
    """Image tokens in somebody's place, those in two places twice, at most all."""
    rows, columns, total = crop.height_px // 16, crop.width_px // 16, 0
    for face in crop.faces:
        box = Box(*face.box).to_px(crop.width_px, crop.height_px)
        left, top, right, bottom = box_cells(box, columns, rows)
        total += (right - left) * (bottom - top)
    return min(total, rows * columns)


def phases_of(settings: Finetune) -> tuple[Finetune, ...]:
    """The settings of each part of a run, and of what comes after them."""
    ends = phase_ends(settings.phases, settings.optim.steps)
    parts = [settings.at(end - 1) for end in ends]
    return (*parts, settings) if not ends or ends[-1] < settings.optim.steps else tuple(parts)


def changed(settings: Finetune, changes: Mapping[str, object]) -> Finetune:
    """The same settings but for some, by dotted key."""
    tree = settings.model_dump()
    for key, value in changes.items():
        set_key(tree, key, value)
    return Finetune.model_validate(tree)


def _crops(cache: Cache, most: int) -> Iterator[CropEntry]:
    """What is trained on: as the sampler takes it."""
    for image in cache.images:
        if not image.held_out:
            yield from (crop for crop in image.crops if 1 <= len(crop.faces) <= most)


def parameter_count(module: torch.nn.Module) -> int:
    """Numbers of a model without data; matrices that are packed count too."""
    held = sum(parameter.numel() for parameter in module.parameters())
    packed = [layer for layer in module.modules() if hasattr(layer, "in_features") and not hasattr(layer, "weight")]
    return held + sum(layer.in_features * layer.out_features for layer in packed)
