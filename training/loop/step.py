"""One micro-batch forward: the base model's velocity, the losses, and the numbers that are logged."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.tolerance import SLACK

from ..base.family import Latents, Transformer, Vae
from ..base.registry import velocity
from ..configuration.finetune import Finetune
from ..distributed.processes import Processes
from ..losses.contrast import Bank, contrast
from ..losses.decode import decoded
from ..losses.flow import (
    add_noise,
    clean_estimate,
    flow_losses,
    target_velocity,
)
from ..losses.identity import face_embeddings, identity_losses, samples_to_judge
from .batch import Batch

BINS = 5  # of sigma, 0.2 each
BIN_NAMES = tuple(f"id_{index / BINS:.1f}_{(index + 1) / BINS:.1f}" for index in range(BINS))
LOSSES = ("loss", "flow", "id", "nce")
COSINES = ("cos_target", "cos_reference", "cos_negative")
COLUMNS = (*LOSSES, *BIN_NAMES, *COSINES, "faces")


@dataclass(frozen=True, eq=False)
class FrozenModels:
    """The models that are not trained, on the training device.

    recognizer  crops [F, 3, 112, 112] to embeddings, differentiable; None without identity losses
    """

    transformer: Transformer
    vae: Vae
    scale: Latents
    recognizer: Callable[[Tensor], Tensor] | None

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """RGB pixels [B, 3, height, width] of the transformer's latents, float32, -1 to 1 and not clamped."""
        values = self.scale.out_of_model(latent_BCHW).to(self.vae.dtype)
        # diffusers says FloatTensor and means every number format.
        return self.vae.decode(cast(torch.FloatTensor, values), return_dict=False)[0].float()


@dataclass(frozen=True, eq=False)
class GlobalBatchStats:
    """What a process must know of the micro-batch of all processes, of which it computes a part.

    targets_OE, identities_O  embeddings of all target faces, and whose they are: the negatives of the batch
    faces                     number of faces that the identity losses are averaged over
    processes                 how many there are, of equally many samples
    """

    targets_OE: Tensor
    identities_O: Tensor
    faces: int
    processes: int = 1

    @classmethod
    def of(cls, batch: Batch, frozen: FrozenModels, settings: Finetune, processes: Processes) -> "GlobalBatchStats":
        """Gathers targets, which carry no gradients; generated faces stay where theirs are."""
        judged = torch.tensor(_judged(batch, frozen, settings)[1])
        return cls(
            processes.gathered(batch.target_FE),
            processes.gathered(batch.identities_F),
            int(processes.summed(judged)),
            processes.count,
        )

    def to(self, device: torch.device) -> "GlobalBatchStats":
        return replace(self, targets_OE=self.targets_OE.to(device), identities_O=self.identities_O.to(device))


@dataclass(frozen=True, eq=False)
class LossOutput:
    """This process's part of a loss, with gradients, and the values behind it by column.

    The parts of all processes add up to the loss.
    """

    loss: Tensor
    values: Mapping[str, list[float]]


def compute_loss(
    batch: Batch,
    frozen: FrozenModels,
    socket: AdapterSocket,
    bank: Bank | None,
    settings: Finetune,
    total: GlobalBatchStats | None = None,
) -> LossOutput:
    """`flow + weight id + weight nce`, the latter two averaged over faces of samples with sigma up to `max_sigma`.

    Samples with more noise are neither decoded nor recognized.

    total  of all processes; None where this is the only one
    """
    noisy = add_noise(batch.clean_BCHW, batch.noise_BCHW, batch.sigmas_B)
    with socket.placed(batch.people):
        predicted = velocity(frozen.transformer, noisy, batch.sigmas_B, batch.text, settings.noise.guidance)
    flow = flow_losses(predicted, target_velocity(batch.clean_BCHW, batch.noise_BCHW)).mean()
    samples, count = _judged(batch, frozen, settings)
    total = total or GlobalBatchStats(batch.target_FE, batch.identities_F, count)
    # Each process has equally many samples, so the mean over all is the sum of these.
    loss, values = flow / total.processes, {"flow": [flow.item()], "faces": [0.0]}
    if frozen.recognizer is not None and len(samples):
        estimate = clean_estimate(noisy, predicted, batch.sigmas_B)[samples]
        pixels = _pixels(frozen, settings, estimate)
        generated = face_embeddings(pixels, batch.faces.within(samples), frozen.recognizer)
        faces = _judged_faces(batch, generated, bank, settings, samples, total)
        identity, contrasted = (losses_F.sum() / total.faces for losses_F in faces.losses)
        loss = loss + settings.id_loss.weight * identity + settings.nce.weight * contrasted
        values |= faces.values
    # Multiplied back, since the logged value is averaged over processes and not summed.
    return LossOutput(loss, {**values, "loss": [loss.item() * total.processes]})


def totals(passes: Sequence[Mapping[str, list[float]]]) -> Tensor:
    """Of each column the sum over passes or over all their faces, and how many there are: float64 [columns, 2]."""
    together = {name: [value for values in passes for value in values.get(name, ())] for name in COLUMNS}
    # fsum is exact, so the order of passes and faces changes no digit.
    return torch.tensor([[math.fsum(values), len(values)] for values in together.values()], dtype=torch.float64)


def means(totals_C2: Tensor) -> dict[str, float | None]:
    """The columns of one step from the totals of all processes: None where there was no value; `faces` is their sum."""
    sums = dict(zip(COLUMNS, totals_C2.tolist(), strict=True))
    row = {name: total / count if count else None for name, (total, count) in sums.items()}
    return {**row, "faces": sums["faces"][0]}


def _judged(batch: Batch, frozen: FrozenModels, settings: Finetune) -> tuple[Tensor, int]:
    """Samples whose faces are judged, and the number of those faces."""
    samples = samples_to_judge(batch.sigmas_B, batch.faces, settings.id_loss.max_sigma)
    if frozen.recognizer is None:
        samples = samples[:0]
    return samples, int(torch.isin(batch.faces.sample_F, samples).sum())


@dataclass(frozen=True, eq=False)
class _Faces:
    losses: tuple[Tensor, Tensor]
    values: Mapping[str, list[float]]


def _judged_faces(
    batch: Batch,
    generated_FE: Tensor,
    bank: Bank | None,
    settings: Finetune,
    samples: Tensor,
    total: GlobalBatchStats,
) -> _Faces:
    """Identity loss and InfoNCE of each face of `samples`, whose embeddings in the generated images are given."""
    kept = torch.isin(batch.faces.sample_F, samples)
    identity = identity_losses(generated_FE, batch.target_FE[kept])
    found = contrast(
        generated_FE,
        batch.target_FE[kept],
        batch.identities_F[kept],
        total.targets_OE,
        total.identities_O,
        bank if batch.rows_FK is not None else None,
        batch.rows_FK[kept] if batch.rows_FK is not None else None,
        settings.nce.tau,
        settings.nce.false_negative_cos,
    )
    values = {
        "id": identity.tolist(),
        "nce": found.losses_F.tolist(),
        "cos_target": (1 - identity).tolist(),
        "cos_reference": F.cosine_similarity(generated_FE, batch.reference_FE[kept], dim=-1).tolist(),
        "cos_negative": found.hardest_F[found.counts_F > 0].tolist(),
        "faces": [float(len(generated_FE))],
    }
    sigmas = batch.sigmas_B[batch.faces.sample_F[kept]].tolist()
    for sigma, value in zip(sigmas, values["id"], strict=True):
        values.setdefault(BIN_NAMES[min(int(sigma * BINS + SLACK), BINS - 1)], []).append(value)
    return _Faces((identity, found.losses_F), values)


def _pixels(frozen: FrozenModels, settings: Finetune, latent_BCHW: Tensor) -> Tensor:
    if settings.memory.vae_gradient_checkpointing:
        return decoded(frozen.vae, latent_BCHW, frozen.scale)
    return 127.5 * (frozen.decode(latent_BCHW) + 1)
