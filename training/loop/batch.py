"""Batches: samples as the tensors of one micro-batch, with a sigma (timestep) drawn for each.

Letters in tensor names: B samples, C latent channels, H and W latent rows and columns, P people of the sample with
most, F faces of all samples, E length of a face embedding, K negatives of a face.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

from withanyone_core.adapter.shape import Branch
from withanyone_core.base_models.base_model import BaseModel
from withanyone_core.base_models.registry import base_named
from withanyone_core.faces.portrait import mean_embedding
from withanyone_core.injection.placed_people import LearnedRows, PlacedPeople, members
from withanyone_core.regions.layout import Box

from ..base.family import Latents, Text
from ..cache.cache import Cache
from ..configuration.learning import NoiseSettings
from ..losses.contrast import Bank, draw_rows
from ..losses.flow import SIGMAS, sample_latent, shifted_sigmas, sigma_table
from ..losses.identity import TargetFaces
from .sampling import Person, Sample


@dataclass(frozen=True, eq=False)
class ConditioningSpec:
    """How people are conditioned on: what the adapter reads of them.

    siglip           whether it reads SigLIP tokens
    truncates_boxes  how it rounds boxes
    learned          of each branch, tokens [1, T, D] in place of what it makes of `person`, a name of the cache
    """

    siglip: bool = False
    truncates_boxes: bool = False
    person: str = ""
    learned: Mapping[Branch, Tensor] = field(default_factory=dict)


DEFAULT_CONDITIONING, DEFAULT_NOISE = ConditioningSpec(), NoiseSettings()


@dataclass(frozen=True, eq=False)
class Batch:
    """The tensors of one micro-batch.

    clean_BCHW, noise_BCHW  latents as the transformer sees them, and what is mixed into them at `sigmas_B`
    text                    the tensors of the captions, [B, ...] each
    people                  who is where
    faces                   which faces the identity losses see: those of people with tokens
    target_FE               their target's face embeddings
    reference_FE                the embeddings that the adapter is given for them
    identities_F            who they are, -1 where nobody knows
    rows_FK                 rows of the bank of negatives; None without extended negatives
    """

    clean_BCHW: Tensor
    noise_BCHW: Tensor
    sigmas_B: Tensor
    text: Text
    people: PlacedPeople
    faces: TargetFaces
    target_FE: Tensor
    reference_FE: Tensor
    identities_F: Tensor
    rows_FK: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """A copy on a device."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in moved.items() if isinstance(value, Tensor | PlacedPeople)}
        faces = replace(self.faces, sample_F=self.faces.sample_F.to(device))
        return replace(self, text=text_to(self.text, device), faces=faces, **moved)


def make_batch(
    cache: Cache,
    samples: Sequence[Sample],
    scale: Latents,
    bank: Bank | None,
    negatives: int,
    conditioning: ConditioningSpec = DEFAULT_CONDITIONING,
    noise: NoiseSettings = DEFAULT_NOISE,
) -> Batch:
    """The tensors of samples of one size, on the CPU; every random number is the sample's own.

    ValueError for samples whose texts differ in length, or negatives that cannot be drawn.
    """
    clean = torch.cat([clean_latent(cache, sample, scale) for sample in samples])
    width_px, height_px, _ = cache.bucket(cache.images[samples[0].image], samples[0].crop)
    texts = [text_of(cache, sample) for sample in samples]
    targets = [(row, person) for row, sample in enumerate(samples) for person in sample.judged]
    # Something to concatenate where no face is shown.
    none = torch.zeros(0, cache.arcface.shape[1])
    return Batch(
        clean_BCHW=clean,
        noise_BCHW=torch.stack([sample.draws.normal("noise", tuple(clean.shape[1:])) for sample in samples]),
        sigmas_B=drawn_sigmas(samples, width_px, height_px, base_named(cache.base), noise),
        text={name: torch.stack([text[name] for text in texts]) for name in cache.texts},
        people=placed_people(cache, samples, width_px, height_px, conditioning),
        faces=TargetFaces(
            torch.tensor([row for row, _ in targets], dtype=torch.int64),
            # Without faces NumPy would make it one-dimensional.
            np.array([person.landmarks for _, person in targets], dtype=np.float32).reshape(-1, 5, 2),
        ),
        target_FE=torch.cat([none, *(cache.arcface[person.face][None] for _, person in targets)]),
        reference_FE=torch.cat([none, *(reference_embedding(cache, person)[None] for _, person in targets)]),
        identities_F=torch.tensor([cache.faces[person.face].identity for _, person in targets], dtype=torch.int64),
        rows_FK=_rows(cache, samples, bank, negatives),
    )


def drawn_sigmas(
    samples: Sequence[Sample], width_px: int, height_px: int, base: BaseModel, noise: NoiseSettings
) -> Tensor:
    """A sigma for each sample of this size, float32 [B]."""
    # The shift depends on the number of image tokens, so each size has a table of its own.
    tokens = base.tokens(width_px, height_px)
    if noise.sigmas == "uniform":
        table = sigma_table(tokens, base)
        return torch.stack([table[sample.draws.below("level", SIGMAS)] for sample in samples])
    logits = torch.cat([sample.draws.normal("level", (1,)) for sample in samples])
    return shifted_sigmas(torch.sigmoid(noise.logit_mean + noise.logit_std * logits), tokens, base)


def clean_latent(cache: Cache, sample: Sample, scale: Latents) -> Tensor:
    """A draw from the posterior as the transformer sees it, [1, C, H, W]."""
    mean, logvar = cache.latent(cache.images[sample.image], sample.crop)
    return sample_latent(mean, logvar, sample.draws.normal("posterior", tuple(mean.shape)), scale)[None]


def text_of(cache: Cache, sample: Sample) -> Text:
    """The tensors of the caption, or of the number of people."""
    return cache.text(cache.images[sample.image]) if sample.captioned else cache.dummy_text(len(sample.people))


def text_to(text: Text, device: torch.device | str) -> dict[str, Tensor]:
    """A copy on a device."""
    return {name: tensor.to(device) for name, tensor in text.items()}


def batch_of_text(text: Text, device: torch.device | str) -> dict[str, Tensor]:
    """One text as a batch, on a device."""
    return {name: tensor[None].to(device) for name, tensor in text.items()}


def placed_people(
    cache: Cache,
    samples: Sequence[Sample],
    width_px: int,
    height_px: int,
    conditioning: ConditioningSpec = DEFAULT_CONDITIONING,
) -> PlacedPeople:
    """Who is shown in each sample, and where; people who are not shown are nowhere."""
    regions = [[Box(*person.box) if person.shown else None for person in sample.people] for sample in samples]
    membership = members(regions, width_px, height_px, conditioning.truncates_boxes)
    arcface = torch.zeros(*membership.shape[:2], cache.arcface.shape[1])
    for row, sample in enumerate(samples):
        for place, person in enumerate(sample.people):
            arcface[row, place] = reference_embedding(cache, person)
    siglip = _siglip(cache, samples, membership.shape[1]) if conditioning.siglip else None
    learned: dict[Branch, LearnedRows] = {}
    if conditioning.learned:
        rows = _rows_of(cache, samples, membership.shape[1], conditioning.person)
        learned = {branch: LearnedRows(tokens, rows) for branch, tokens in conditioning.learned.items()}
    return PlacedPeople(arcface, membership, siglip, learned)


def reference_embedding(cache: Cache, person: Person) -> Tensor:
    """The raw face embedding that the adapter reads for a person, float32 [E].

    A mean is that of Identity from Photos: mean direction at mean length.
    """
    if not person.averaged:
        return cache.arcface[person.reference]
    return torch.from_numpy(mean_embedding(list(cache.arcface[list(person.averaged)].numpy())))


def _rows_of(cache: Cache, samples: Sequence[Sample], most: int, name: str) -> Tensor:
    """0 where a sample's person is the one of that name, -1 elsewhere, [B, P]."""
    rows = torch.full((len(samples), most), -1)
    for row, sample in enumerate(samples):
        for place, person in enumerate(sample.people):
            if cache.name_of(person.face) == name:
                rows[row, place] = 0
    return rows


def _siglip(cache: Cache, samples: Sequence[Sample], most: int) -> Tensor:
    """SigLIP tokens of everybody's reference, [B, P, tokens, width]."""
    found = []
    for sample in samples:
        tokens = torch.stack([_siglip_of(cache, person) for person in sample.people])
        found.append(torch.cat([tokens, tokens.new_zeros(most - len(tokens), *tokens.shape[1:])]))
    return torch.stack(found)


def _siglip_of(cache: Cache, person: Person) -> Tensor:
    face = cache.face(person.reference, person.variant)
    tokens = face.siglip_flipped if person.flipped else face.siglip
    if tokens is None:
        raise ValueError(
            "The sig branch is trained and the cache holds no SigLIP tokens. Prepare it with a SigLIP tower, or set "
            "adapter.branch=arc."
        )
    return tokens


def _rows(cache: Cache, samples: Sequence[Sample], bank: Bank | None, count: int) -> Tensor | None:
    if bank is None or count == 0:
        return None
    rows = [torch.zeros(0, count, dtype=torch.int64)]
    for sample in samples:
        identities = [cache.faces[person.face].identity for person in sample.judged]
        if identities:
            rows.append(draw_rows(bank, identities, count, sample.draws.torch_generator("negatives")))
    return torch.cat(rows)
