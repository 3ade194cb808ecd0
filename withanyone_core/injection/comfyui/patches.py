"""An adapter LoRA as patches of ComfyUI's ModelPatcher, which adds them on the device and takes them away again."""

from collections.abc import Mapping

import comfy.model_patcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor

from ...adapter.lora import AdapterLora, LowRank


def add_lora(patcher: comfy.model_patcher.ModelPatcher, lora: AdapterLora, keys: Mapping[str, str]) -> None:
    """Adds the updates of a LoRA to the matrices of a part. `keys` has each one's key in the adapter's file."""
    patches = {
        name: _patch(lora.updates[key], _row_scale(patcher, name)) for name, key in keys.items() if key in lora.updates
    }
    patcher.add_patches(patches, lora.strength)


def _patch(update: LowRank, row_scale: Tensor | None) -> LoRAAdapter:
    # What is added to a matrix that is stored in multiples of its rows' scales has to be in such multiples, too.
    up = update.up if row_scale is None else update.up / row_scale[:, None].to(update.up)
    alpha = mid = dora = reshape = None
    return LoRAAdapter(set(), (up, update.down, alpha, mid, dora, reshape))


def _row_scale(patcher: comfy.model_patcher.ModelPatcher, name: str) -> Tensor | None:
    return getattr(patcher.model.get_submodule(name.removesuffix(".weight")), "row_scale", None)
