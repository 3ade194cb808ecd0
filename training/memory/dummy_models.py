"""Dummy models: of the sizes that the settings' files have, without weights; and the shape of the largest batch."""

from collections.abc import Iterator, Mapping

import torch

from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.canvas import CELL_PX
from withanyone_core.regions.cells import box_cells
from withanyone_core.regions.layout import Box

from ..base.registry import family_named, family_of_module
from ..base.transformer import read_architecture
from ..base.vae import load_vae
from ..cache.cache import Cache
from ..cache.entries import CropEntry
from ..configuration.finetune import Finetune
from ..configuration.phases import phase_ends
from ..configuration.reading import set_key
from ..loop.both_branches import untrained_branch
from ..loop.build import siglip_width
from ..loop.sampling import Sources
from ..loop.step import FrozenModels
from ..loop.trainable import Sizes, branch_shapes, branch_weights
from ..losses.arcface import Recognizer
from .dry_run import DummyModels
from .fake_tensors import BatchShape, FakeTensors
from .weight_bytes import compute_dtype


def make_dummy_models(settings: Finetune, cache: Cache) -> DummyModels:
    """Models of the sizes that the settings' files have; the base model's and the adapter's weights are not read.

    Raises as `build_trainer` for files that are missing or of another kind.
    """
    fakes, precision = FakeTensors(), settings.base.precision
    transformer = fakes.transformer(read_architecture(settings.base.path), precision)
    # VAE and recognizer are a hundredth of the base model: reading them is as quick as reading headers.
    vae, scale = load_vae(settings.base.vae or settings.base.path, compute_dtype(precision))
    judged_by = settings.id_loss.recognizer
    recognizer = None if judged_by is None else fakes.without_data(Recognizer.load(judged_by))
    layers = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
    model = family_of_module(transformer).model
    sizes = Sizes(transformer.inner_dim, layers, cache.arcface.shape[1], siglip_width(cache), model)
    adapter = fakes.adapter(branch_shapes(settings.adapter, sizes), settings.train, compute_dtype(precision))
    frozen = FrozenModels(transformer, fakes.without_data(vae), scale, recognizer)
    other = _other_branch(settings, cache, fakes, compute_dtype(precision))
    return DummyModels(fakes, frozen, adapter, branch_weights(settings.adapter), other)


def _other_branch(settings: Finetune, cache: Cache, fakes: FakeTensors, dtype: torch.dtype) -> AdapterNetwork | None:
    """That which validation loads from the adapter's file beside the trained one; None without one."""
    file = None if settings.adapter.init is None else inspect_adapter(settings.adapter.init)
    branch = untrained_branch(settings, file, cache.face(0).siglip)
    if branch is None or file is None:
        return None
    return fakes.module(lambda: AdapterNetwork([file.shapes[branch]]), dtype)


def largest_batch_shape(settings: Finetune, sources: Sources) -> BatchShape:
    """The shape of the largest batch that any phase of a run can draw.

    ValueError where nothing can be drawn.
    """
    shapes = [batch_shape(part, sources.at(part).cache) for part in phases_of(settings)]
    return max(shapes, key=lambda shape: (shape.batch * shape.tokens, shape.covered))


def batch_shape(settings: Finetune, cache: Cache) -> BatchShape:
    """A batch of the largest crops, with as many people as one of them has, and as much of it in their places."""
    crops = list(_crops(cache, settings.data.max_people))
    area = max(crop.width_px * crop.height_px for crop in crops)
    largest = [crop for crop in crops if crop.width_px * crop.height_px == area]
    people = max(len(crop.faces) for crop in largest)
    text, with_bank = cache.dummy_text(0), settings.nce.weight > 0 and settings.nce.negatives > 0
    reads_siglip = Branch.SIG in branch_weights(settings.adapter)
    tokens, family = cache.face(0).siglip, family_named(cache.base)
    width_px, height_px = largest[0].width_px, largest[0].height_px
    channels, _, _ = family.latent_shape(cache.latent(cache.images[0], 0)[0].shape[0], width_px, height_px)
    return BatchShape(
        width_px,
        height_px,
        settings.optim.batch_size,
        people,
        people if settings.id_loss.recognizer is not None else 0,
        max(map(covered, largest)),
        {name: tuple(tensor.shape) for name, tensor in text.items()},
        cache.arcface.shape[1],
        (tokens.shape[0], tokens.shape[1]) if reads_siglip and tokens is not None else None,
        (len(cache.negatives.embeddings), settings.nce.negatives) if with_bank else (0, 0),
        channels,
        family.latent_px,
    )


def covered(crop: CropEntry) -> int:
    """Image tokens in somebody's place, those in two places twice, at most all."""
    rows, columns, total = crop.height_px // CELL_PX, crop.width_px // CELL_PX, 0
    for face in crop.faces:
        box = Box(*face.box).to_px(crop.width_px, crop.height_px)
        left, top, right, bottom = box_cells(box, columns, rows)
        total += (right - left) * (bottom - top)
    return min(total, rows * columns)


def phases_of(settings: Finetune) -> tuple[Finetune, ...]:
    """The settings of each part of a run, and of what comes after them."""
    ends = phase_ends(settings.phases, settings.optim.steps)
    # Of a phase's last step, which is counted from 0.
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
    """Numbers of a model without data; matrices that are quantized count too."""
    held = sum(parameter.numel() for parameter in module.parameters())
    quantized = [layer for layer in module.modules() if hasattr(layer, "in_features") and not hasattr(layer, "weight")]
    return held + sum(vars(layer)["in_features"] * vars(layer)["out_features"] for layer in quantized)
