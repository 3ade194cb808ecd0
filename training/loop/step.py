"""One pass forward: from a batch to the loss, and to the numbers that are looked at."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withanyone_core.injection.diffusers import AdapterSocket

from ..configuration.finetune import Finetune
from ..losses.contrast import Bank, contrast
from ..losses.decode import decoded
from ..losses.flow import LatentScale, clean_estimate, flow_losses, mixed, target_velocity
from ..losses.identity import face_vectors, identity_losses, open_samples
from .batch import Batch
from .velocity import velocity

BINS = 5  # of noise levels, 0.2 each
BIN_NAMES = tuple(f"id_{index / BINS:.1f}_{(index + 1) / BINS:.1f}" for index in range(BINS))
LOSSES = ("loss", "flow", "id", "nce")
COSINES = ("cos_target", "cos_reference", "cos_negative")
COLUMNS = (*LOSSES, *BIN_NAMES, *COSINES, "faces")


@dataclass(frozen=True, eq=False)
class Frozen:
    """The models that are not trained, on the training device.

    recogniser  crops [F, 3, 112, 112] to raw vectors, differentiable; None where no identity loss is asked for
    """

    transformer: nn.Module
    vae: nn.Module
    scale: LatentScale
    recogniser: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True, eq=False)
class Passed:
    """The loss of a pass with its gradients, and by column the numbers it adds up from."""

    loss: Tensor
    values: Mapping[str, list[float]]


def run_pass(batch: Batch, frozen: Frozen, socket: AdapterSocket, bank: Bank | None, settings: Finetune) -> Passed:
    """`flow + weight id + weight nce`, the latter two averaged over the faces whose sample's noise level is low enough.

    Samples above that level are neither decoded nor recognised.
    """
    noisy = mixed(batch.clean_BCHW, batch.noise_BCHW, batch.levels_B)
    with socket.placed(batch.people):
        predicted = velocity(
            frozen.transformer, noisy, batch.levels_B, batch.t5_BTD, batch.pooled_BD, settings.noise.guidance
        )
    flow = flow_losses(predicted, target_velocity(batch.clean_BCHW, batch.noise_BCHW)).mean()
    loss, values = flow, {"flow": [flow.item()], "faces": [0.0]}
    judged = open_samples(batch.levels_B, batch.faces, settings.id_loss.t_max)
    if frozen.recogniser is not None and len(judged):
        faces = _judged_faces(batch, frozen, bank, settings, clean_estimate(noisy, predicted, batch.levels_B), judged)
        loss = flow + settings.id_loss.weight * faces.loss[0] + settings.nce.weight * faces.loss[1]
        values |= faces.values
    return Passed(loss, {**values, "loss": [loss.item()]})


def mean_values(passes: list[Mapping[str, list[float]]]) -> dict[str, float | None]:
    """The columns of one step: means over its passes or over all their faces, None where there was none."""
    together = {name: [value for values in passes for value in values.get(name, ())] for name in COLUMNS}
    row = {name: math.fsum(values) / len(values) if values else None for name, values in together.items()}
    return {**row, "faces": math.fsum(together["faces"])}


@dataclass(frozen=True, eq=False)
class _Faces:
    loss: tuple[Tensor, Tensor]
    values: Mapping[str, list[float]]


def _judged_faces(
    batch: Batch, frozen: Frozen, bank: Bank | None, settings: Finetune, estimate_BCHW: Tensor, judged: Tensor
) -> _Faces:
    """Identity loss and InfoNCE of the faces of the samples in `judged`."""
    kept = torch.isin(batch.faces.sample_F, judged)
    faces = batch.faces.within(judged)
    made = face_vectors(_pixels(frozen, settings, estimate_BCHW[judged]), faces, frozen.recogniser)
    identity = identity_losses(made, batch.wanted_FE[kept])
    found = contrast(
        made,
        batch.wanted_FE[kept],
        batch.identities_F[kept],
        batch.wanted_FE,
        batch.identities_F,
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
        values.setdefault(BIN_NAMES[min(int(level * BINS), BINS - 1)], []).append(value)
    return _Faces((identity.mean(), found.losses_F.mean()), values)


def _pixels(frozen: Frozen, settings: Finetune, latent_BCHW: Tensor) -> Tensor:
    if settings.memory.checkpoint_vae:
        return decoded(frozen.vae, latent_BCHW, frozen.scale)
    plain = frozen.vae.decode(frozen.scale.out_of_model(latent_BCHW).to(frozen.vae.dtype), return_dict=False)[0]
    return 127.5 * (plain.float() + 1)
