"""SigLIP's vision tower inside ComfyUI. ComfyUI's own loader knows only larger towers of this kind."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..withanyone_core.faces import siglip
from ..withanyone_core.file_kinds.header import read_safetensors
from ..withanyone_core.file_kinds.naming import what_it_is
from ..withanyone_core.file_kinds.towers import recognize_tower
from ..withanyone_core.files.first_bytes import SAFETENSORS, no_safetensors


def load_siglip(path: Path) -> comfy.clip_vision.ClipVisionModel:
    """SigLIP base for 256 pixels from a safetensors file of the vision tower or of the whole model.

    Raises ValueError for any other file.
    """
    use = f"Use the .safetensors file of {siglip.MODEL_NAME}."
    if path.suffix.lower() not in SAFETENSORS:
        raise ValueError(f"{path.name} is not a safetensors file. {use}")
    if reason := no_safetensors(path):
        raise ValueError(f"{path.name} {reason} {use}")
    try:
        header = read_safetensors(path)
    except ValueError as error:
        raise ValueError(
            f"{path.name} ({path.stat().st_size} bytes) is not a complete safetensors file. Download it again."
        ) from error
    if recognize_tower(header) is None and (instead := what_it_is(header)):
        raise ValueError(f"{path.name} is not a SigLIP vision tower.{instead} {use}")
    return siglip_tower(load_file(path), path.name)


def siglip_tower(state: dict[str, Tensor], source: str, heads: int | None = None) -> comfy.clip_vision.ClipVisionModel:
    """A CLIP_VISION made of a SigLIP state dict; `source` names it in errors, `heads` is for towers unlike base.

    Weights stay in float32, whatever ComfyUI holds text encoders in: 86 million of them, run once a photo. ComfyUI's
    LayerNorms add 1e-5 to the variance where SigLIP was trained with 1e-6.
    Raises ValueError for tensors that are no such tower or not all of it.
    """
    weights = siglip.vision_weights(state)
    clip_vision = _empty_tower(siglip.tower_shape(weights, source, heads))
    # Before the weights are loaded: the empty tower has the type of ComfyUI's text encoders, which would round them.
    clip_vision.model.to(torch.float32)
    clip_vision.dtype = torch.float32
    for module in clip_vision.model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = siglip.LAYER_NORM_EPS
    missing, unexpected = clip_vision.load_sd(weights)
    if missing or unexpected:
        raise ValueError(
            f"{source} is not a whole SigLIP vision tower: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}), {len(unexpected)} unknown ({', '.join(unexpected[:3])}). Download it again."
        )
    return clip_vision


def siglip_encoder(clip_vision: comfy.clip_vision.ClipVisionModel) -> Callable[[np.ndarray], Tensor]:
    """The function from a face crop [H, W, 3] uint8 to SigLIP's patch tokens [patches, width] of a CLIP_VISION.

    Raises ValueError for a tower of another kind, such as those made for IPAdapter.
    """
    shape = siglip.tower_shape(clip_vision.get_sd(), "The model connected to clip_vision")

    def encode(crop: np.ndarray) -> Tensor:
        return patch_tokens(clip_vision, siglip.pixel_values(crop, shape.image_size_px))[0]

    return encode


@torch.no_grad()
def patch_tokens(clip_vision: comfy.clip_vision.ClipVisionModel, pixel_values: Tensor) -> Tensor:
    """SigLIP's last hidden state after its final norm, float32 [B, patches, width], of pixels [B, 3, size, size]."""
    # Where the tower lies is ComfyUI's to decide, with all other models in view.
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    # The first output is the last hidden state after the final norm, which alone WithAnyone reads.
    tokens, *_ = clip_vision.model(pixel_values=pixel_values.to(clip_vision.load_device))
    return tokens.to(comfy.model_management.intermediate_device(), torch.float32)


def _empty_tower(shape: siglip.TowerShape) -> comfy.clip_vision.ClipVisionModel:
    config = {
        "model_type": "siglip_vision_model",
        "num_channels": 3,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.mlp_width,
        "patch_size": shape.patch_px,
        "image_size": shape.image_size_px,
        "hidden_act": "gelu_pytorch_tanh",
        "image_mean": [siglip.MEAN] * 3,
        "image_std": [siglip.STD] * 3,
    }
    with tempfile.TemporaryDirectory() as folder:  # ComfyUI takes a configuration only as a file
        path = Path(folder) / "siglip.json"
        path.write_text(json.dumps(config))
        return comfy.clip_vision.ClipVisionModel(str(path))
