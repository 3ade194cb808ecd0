"""One pass forward: from a batch to the loss, and to the numbers that are looked at."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.tolerance import SLACK

from ..configuration.finetune import Finetune
from ..losses.contrast import Bank, contrast
from ..losses.decode import decoded
from ..losses.flow import LatentScale, clean_estimate, flow_losses, mixed, target_velocity
from ..losses.identity import face_vectors, identity_losses, open_samples
from .batch import Batch
from .processes import Processes
from .velocity import velocity

BINS = 5  # of noise levels, 0.2 each
BIN_NAMES = tuple(f"id_{index / BINS:.1f}_{(index + 1) / BINS:.1f}" for index in range(BINS))
LOSSES = ("loss", "flow", "id", "nce")
COSINES = ("cos_target", "cos_reference", "cos_negative")
COLUMNS = (*LOSSES, *BIN_NAMES, *COSINES, "faces")


@dataclass(frozen=True, eq=False)
class Frozen:
    """The models that are not trained, on the training device.

    recognizer  crops [F, 3, 112, 112] to raw vectors, differentiable; None where no identity loss is asked for
    """

    transformer: nn.Module
    vae: nn.Module
    scale: LatentScale
    recognizer: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True, eq=False)
class Whole:
    """The same pass in all processes, which each computes a part of.

    targets_OE, identities_O  raw vectors of all their target faces, and who those are: what faces are to be unlike
    judged                    how many faces of all of them the identity losses are averaged over
    parts                     processes, of equally many samples
    """

    targets_OE: Tensor
    identities_O: Tensor
    judged: int
    parts: int = 1

    @classmethod
    def of(cls, batch: Batch, frozen: Frozen, settings: Finetune, processes: Processes) -> "Whole":
        """Gathers targets, which carry no gradients; generated faces stay where theirs are."""
        judged = torch.tensor(_judged(batch, frozen, settings)[1])
        return cls(
            processes.gathered(batch.wanted_FE),
            processes.gathered(batch.identities_F),
            int(processes.summed(judged)),
            processes.count,
        )

    def to(self, device: torch.device) -> "Whole":
        return replace(self, targets_OE=self.targets_OE.to(device), identities_O=self.identities_O.to(device))


@dataclass(frozen=True, eq=False)
class Passed:
    """The share of a pass's loss with its gradients, and by column the numbers it adds up from.

    The shares of all processes add up to the loss.
    """

    loss: Tensor
    values: Mapping[str, list[float]]


def run_pass(
    batch: Batch,
    frozen: Frozen,
    socket: AdapterSocket,
    bank: Bank | None,
    settings: Finetune,
    whole: Whole | None = None,
) -> Passed:
    """`flow + weight id + weight nce`, the latter two averaged over the faces whose sample's noise level is low enough.

    Samples above that level are neither decoded nor recognized.

    whole  the pass in all processes; None where this is the only one
    """
    noisy = mixed(batch.clean_BCHW, batch.noise_BCHW, batch.levels_B)
    with socket.placed(batch.people):
        predicted = velocity(
            frozen.transformer, noisy, batch.levels_B, batch.t5_BTD, batch.pooled_BD, settings.noise.guidance
        )
    flow = flow_losses(predicted, target_velocity(batch.clean_BCHW, batch.noise_BCHW)).mean()
    samples, count = _judged(batch, frozen, settings)
    whole = whole or Whole(batch.wanted_FE, batch.identities_F, count)
    loss, values = flow / whole.parts, {"flow": [flow.item()], "faces": [0.0]}
    if len(samples):
        estimate = clean_estimate(noisy, predicted, batch.levels_B)[samples]
        faces = _judged_faces(batch, frozen, bank, settings, estimate, samples, whole)
        identity, contrasted = (losses_F.sum() / whole.judged for losses_F in faces.losses)
        loss = loss + settings.id_loss.weight * identity + settings.nce.weight * contrasted
        values |= faces.values
    return Passed(loss, {**values, "loss": [loss.item() * whole.parts]})


def totals(passes: Sequence[Mapping[str, list[float]]]) -> Tensor:
    """Of each column the sum over passes or over all their faces, and how many there are: float64 [columns, 2]."""
    together = {name: [value for values in passes for value in values.get(name, ())] for name in COLUMNS}
    return torch.tensor([[math.fsum(values), len(values)] for values in together.values()], dtype=torch.float64)


def means(totals_C2: Tensor) -> dict[str, float | None]:
    """The columns of one step off the totals of all processes: None where there was no value; `faces` is their sum."""
    sums = dict(zip(COLUMNS, totals_C2.tolist(), strict=True))
    row = {name: total / count if count else None for name, (total, count) in sums.items()}
    return {**row, "faces": sums["faces"][0]}


def _judged(batch: Batch, frozen: Frozen, settings: Finetune) -> tuple[Tensor, int]:
    """Samples whose faces are judged, and the number of those faces."""
    samples = open_samples(batch.levels_B, batch.faces, settings.id_loss.max_sigma)
    if frozen.recognizer is None:
        samples = samples[:0]
    return samples, int(torch.isin(batch.faces.sample_F, samples).sum())


@dataclass(frozen=True, eq=False)
class _Faces:
    losses: tuple[Tensor, Tensor]
    values: Mapping[str, list[float]]


def _judged_faces(
    batch: Batch,
    frozen: Frozen,
    bank: Bank | None,
    settings: Finetune,
    estimate_BCHW: Tensor,
    samples: Tensor,
    whole: Whole,
) -> _Faces:
    """Identity loss and InfoNCE of each face of `samples`, whose clean estimates are given."""
    kept = torch.isin(batch.faces.sample_F, samples)
    made = face_vectors(_pixels(frozen, settings, estimate_BCHW), batch.faces.within(samples), frozen.recognizer)
    identity = identity_losses(made, batch.wanted_FE[kept])
    found = contrast(
        made,
        batch.wanted_FE[kept],
        batch.identities_F[kept],
        whole.targets_OE,
        whole.identities_O,
        bank if batch.rows_FK is not None else None,
        batch.rows_FK[kept] if batch.rows_FK is not None else None,
        settings.nce.tau,
        settings.nce.false_negative_cos,
    )
    values = {
        "id": identity.tolist(),
        "nce": found.losses_F.tolist(),
        "cos_target": (1 - identity).tolist(),
        "cos_reference": F.cosine_similarity(made, batch.shown_FE[kept], dim=-1).tolist(),
        "cos_negative": found.hardest_F[found.counts_F > 0].tolist(),
        "faces": [float(len(made))],
    }
    levels = batch.levels_B[batch.faces.sample_F[kept]].tolist()
    for level, value in zip(levels, values["id"], strict=True):
        values.setdefault(BIN_NAMES[min(int(level * BINS + SLACK), BINS - 1)], []).append(value)
    return _Faces((identity, found.losses_F), values)


def _pixels(frozen: Frozen, settings: Finetune, latent_BCHW: Tensor) -> Tensor:
    if settings.memory.vae_gradient_checkpointing:
        return decoded(frozen.vae, latent_BCHW, frozen.scale)
    plain = frozen.vae.decode(frozen.scale.out_of_model(latent_BCHW).to(frozen.vae.dtype), return_dict=False)[0]
    return 127.5 * (plain.float() + 1)
