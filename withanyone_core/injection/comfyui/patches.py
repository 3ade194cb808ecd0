"""An adapter LoRA as patches of ComfyUI's ModelPatcher, which adds them on the device and takes them away again."""

from collections.abc import Mapping, Sequence

import comfy.model_patcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor, nn

from ...adapter.checkpoint import AdapterFile, part_keys
from ...adapter.lora import AdapterLora, LowRank
from ...adapter.shape import Branch
from ...adapter.stacked import Norm, fold_update

Target = tuple[str, tuple[int, int, int]]  # a tensor's name, and of the part of it: dimension, first, length
Patch = LoRAAdapter | tuple[str, tuple[Tensor]]


def add_lora(patcher: comfy.model_patcher.ModelPatcher, lora: AdapterLora, keys: Mapping[str, str]) -> None:
    """Adds the updates of a LoRA to the matrices of an encoder. `keys` has each one's key in the adapter's file."""
    patches = {name: _low_rank(lora.updates[key]) for name, key in keys.items() if key in lora.updates}
    patcher.add_patches(patches, lora.strength)


def add_attention_lora(
    patcher: comfy.model_patcher.ModelPatcher, lora: AdapterLora, file: AdapterFile, branches: Sequence[Branch]
) -> None:
    """Adds the updates of a LoRA to each branch's part of a stacked attention."""
    patches, first = {}, 0
    for number, branch in enumerate(branches):
        inner = file.shapes[branch].inner
        for name, key in part_keys(file, branch, "attention").items():
            if key in lora.updates:
                layer, matrix, _ = name.split(".")
                stacked = patcher.model[int(layer)]
                norm = stacked.norms[number] if matrix == "to_q" else None
                added = _added(getattr(stacked, matrix), lora.updates[key], norm, first, inner)
                patches |= {(f"{layer}.{matrix}.{kind}", part): patch for (kind, part), patch in added.items()}
        first += inner
    patcher.add_patches(patches, lora.strength)


def _added(matrix: nn.Module, update: LowRank, norm: Norm | None, first: int, inner: int) -> dict[Target, Patch]:
    """What an update of one branch's matrix adds to the weight and bias of the stacked one.

    norm  what was folded into a query projection, whose rows are stacked; None for an output, whose columns are
    """
    if norm is None:
        return {("weight", (1, first, inner)): _low_rank(_in_scale(update, _scale(matrix)))}
    scale = _scale(matrix)
    update, bias = fold_update(_in_scale(update, None if scale is None else scale.narrow(0, first, inner)), norm)
    return {("weight", (0, first, inner)): _low_rank(update), ("bias", (0, first, inner)): ("diff", (bias,))}


def _scale(matrix: nn.Module) -> Tensor | None:
    return getattr(matrix, "row_scale", None)


def _in_scale(update: LowRank, row_scale: Tensor | None) -> LowRank:
    """What is added to a matrix that is stored in multiples of its rows' scales has to be in such multiples, too."""
    return update if row_scale is None else LowRank(update.down, update.up / row_scale[:, None].to(update.up))


def _low_rank(update: LowRank) -> LoRAAdapter:
    # In ComfyUI's order. Without alpha nothing is scaled: `up` has the scale in it.
    alpha = mid = dora = reshape = None
    return LoRAAdapter(set(), (update.up, update.down, alpha, mid, dora, reshape))
