"""Recipe of the base model, and with it of the adapter's arc branch: they learn together, windows first.

A frozen base learns to put a given person into an image only as far as it happens to tell people apart. Here nothing
has to be frozen yet: the published attention is in the blocks from the first step, with exact embeddings, each person
left out now and then. `training/finetune.py` then trains both branches further on photos, on the frozen base.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from training.base.flux1_keys import KEYS
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.injection.placed_people import PlacedPeople

from ...diffusers_models import CaptionedFlux
from ...models.backbone import DOUBLE_BLOCKS, HEADS, SINGLE_BLOCKS, WIDTH
from ...models.recognizer import EMBEDDING
from ...weights_folder import FLUX, JOINT_ADAPTER
from .latents import LatentBatch, open_latents
from .siglip import WIDTH as SIGLIP_WIDTH
from .tensor_files import write_tensors
from .training import Recipe

# Of classifier-free guidance for each step of the guidance input: the 4 that people set is a scale of 2.5 here.
PULL = 0.5
TOKENS = 8  # of a person, as in the released adapter
ARC = BranchShape(
    hidden=WIDTH, heads=HEADS, layers=DOUBLE_BLOCKS + SINGLE_BLOCKS, arc_tokens=TOKENS, embedding=EMBEDDING
)

SIG = replace(ARC, siglip_width=SIGLIP_WIDTH)


class InTraining(nn.Module):
    """The base model and the adapter that learns with it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = CaptionedFlux()
        self.adapter = AdapterNetwork([ARC])
        for layer in self.adapter[Branch.ARC].attention:
            nn.init.zeros_(layer.to_out.weight)


def block_matrices(module: InTraining) -> Iterator[nn.Parameter]:
    """The matrices inside the transformer's blocks, without those that modulate."""
    flux = module.model.flux
    for block in (*flux.transformer_blocks, *flux.single_transformer_blocks):
        named = block.named_parameters()
        yield from (parameter for name, parameter in named if parameter.ndim == 2 and "norm" not in name)


def velocity_loss(module: InTraining, parts: tuple[Tensor, ...]) -> Tensor:
    """Mean squared error of the velocity, the people in their places."""
    batch = LatentBatch(*parts)
    velocity = predict(module.model, module.adapter, batch, batch.guidance)
    return mse_loss(velocity.float(), guided_velocity(module, batch))


def guided_velocity(module: InTraining, batch: LatentBatch) -> Tensor:
    """The velocity to learn [B, 8, h, w]: with a guidance above 1 the one that captions and people pull further to."""
    target, rows = batch.noise - batch.clean, (batch.guidance > 1).nonzero()[:, 0]
    if not len(rows):
        return target
    chosen = batch.rows(rows)
    plain = torch.ones_like(chosen.guidance)
    with torch.no_grad():
        with_people = predict(module.model, module.adapter, chosen, plain)
        without_people = predict(module.model, module.adapter, chosen.unconditional(), plain)
    further = PULL * (chosen.guidance[:, None, None, None] - 1) * (with_people - without_people)
    return target.index_add(0, rows, further.float())


def predict(model: CaptionedFlux, adapter: AdapterNetwork, batch: LatentBatch, guidance: Tensor) -> Tensor:
    """The velocity [B, 8, h, w] for a batch's noisy latents."""
    corner = (int(batch.corner[0]), int(batch.corner[1]))
    socket = AdapterSocket(model.flux, adapter)
    try:
        with socket.placed(PlacedPeople(batch.embedding, batch.members)):
            return model(batch.noisy, batch.sigma, guidance, batch.t5_ids, batch.clip_ids, corner)
    finally:
        socket.remove()


def export(module: InTraining, folder: Path) -> tuple[Path, ...]:
    """Writes the transformer as ComfyUI's users have it; beside it, not to be shipped, the adapter to continue from."""
    flux, adapter = module.model.flux.state_dict(), with_sig_branch(module.adapter).state_dict()
    states = {FLUX: KEYS.to_comfyui(flux), JOINT_ADAPTER: file_tensors(adapter)}
    for name, state in states.items():
        write_tensors(folder / name, {key: value.half().cpu().contiguous() for key, value in state.items()})
    return (folder / FLUX,)


def with_sig_branch(adapter: AdapterNetwork) -> AdapterNetwork:
    """The adapter with a sig branch that starts as its arc branch; only the reading of SigLIP tokens is new.

    What a photo looks like is learned from there in a fraction of the steps, for who somebody is is known.
    """
    both = AdapterNetwork([ARC, SIG])
    own, arc = both.state_dict(), adapter.state_dict()
    torch.manual_seed(0)
    for name, value in own.items():
        known = arc.get(name.replace(f".{Branch.SIG.value}.", f".{Branch.ARC.value}."))
        if known is not None:
            value.copy_(known)
        elif value.ndim > 1:
            value.normal_(std=value.shape[1] ** -0.5)
    return both


RECIPE = Recipe(
    name="base_model",
    steps=2_650,
    learning_rate=1e-3,
    build=InTraining,
    batches=open_latents,
    loss=velocity_loss,
    export=export,
    weight_decay=0.01,
    warmup=100,
    average=0.996,
    matrices=block_matrices,
    faster=lambda module: module.adapter.parameters(),
)
