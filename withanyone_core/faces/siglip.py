"""What SigLIP is given and what its vision tower is made of. Running the tower is left to whoever hosts it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Of SigLIP; CLIP towers and torch's default have 1e-5.
LAYER_NORM_EPS = 1e-6
MEAN = STD = 0.5
HEAD_WIDTH = 64  # of SigLIP base; a state dict does not hold its number of heads
MODEL_NAME = "google/siglip-base-patch16-256-i18n"

VISION = "vision_model."
NOT_THE_TOWER = ("text_model.", "vision_model.head.", "logit_scale", "logit_bias")
PATCH_EMBEDDING = f"{VISION}embeddings.patch_embedding.weight"
POSITION_EMBEDDING = f"{VISION}embeddings.position_embedding.weight"
CLASS_TOKEN = f"{VISION}embeddings.class_embedding"


@dataclass(frozen=True)
class TowerShape:
    """Dimensions of a SigLIP vision tower, which gives (image_size_px / patch_px)^2 tokens of `width`."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    patch_px: int
    image_size_px: int


BASE = TowerShape(width=768, layers=12, heads=12, mlp_width=3072, patch_px=16, image_size_px=256)


def vision_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Only the vision tower's tensors, every key with the prefix `vision_model.`.

    The text tower, the attention-pooling head and the two logit scalars are left out: WithAnyone reads patch tokens.
    """
    prefixed = any(key.startswith(VISION) for key in state)
    named = state if prefixed else {f"{VISION}{key}": tensor for key, tensor in state.items()}
    return {
        key: tensor for key, tensor in named.items() if key.startswith(VISION) and not key.startswith(NOT_THE_TOWER)
    }


def tower_shape(weights: Mapping[str, Tensor], source: str, heads: int | None = None) -> TowerShape:
    """Dimensions of the tower whose tensors `vision_weights` left. `heads` defaults to one per 64 channels, as in base.

    Raises ValueError, naming `source`, where this is not a SigLIP tower, or one at least as wide as base that is not
    base: its tokens would mean nothing to the released adapter. Narrower towers pass; the adapter checks widths again.
    """
    if CLASS_TOKEN in weights:
        width = weights[CLASS_TOKEN].shape[-1]
        raise ValueError(f"{source} is a CLIP vision tower (class token, {width} wide), not SigLIP. {_what_to_do()}")
    missing = [key for key in (PATCH_EMBEDDING, POSITION_EMBEDDING) if key not in weights]
    if missing:
        raise ValueError(f"{source} is not a SigLIP vision tower: it lacks {', '.join(missing)}. {_what_to_do()}")
    width, _, patch_px, _ = weights[PATCH_EMBEDDING].shape
    patches = weights[POSITION_EMBEDDING].shape[0]
    first_mlp = weights.get(f"{VISION}encoder.layers.0.mlp.fc1.weight")
    shape = TowerShape(
        width=width,
        # vision_model.encoder.layers.N.: the fourth part is the layer's number.
        layers=len({key.split(".")[3] for key in weights if key.startswith(f"{VISION}encoder.layers.")}),
        heads=heads or max(width // HEAD_WIDTH, 1),
        mlp_width=0 if first_mlp is None else first_mlp.shape[0],
        patch_px=patch_px,
        image_size_px=isqrt(patches) * patch_px,
    )
    is_tower = isqrt(patches) ** 2 == patches and width % shape.heads == 0 and shape.layers > 0 and shape.mlp_width > 0
    if not is_tower or (width >= BASE.width and shape != BASE):
        raise ValueError(
            f"{source} is not SigLIP base for 256 pixels: {width} wide, {shape.layers} layers, patches of {patch_px} "
            f"pixels, {patches} tokens; expected 768 wide, 12 layers, patches of 16 pixels, 256 tokens. {_what_to_do()}"
        )
    return shape


def pixel_values(crop: np.ndarray, image_size_px: int) -> Tensor:
    """What the tower reads, float32 [1, 3, size, size] in -1..1, from an RGB crop [H, W, 3] uint8.

    Resized by PIL's bicubic on 8 bits, as the released program does; torch's differs by 1 of 255 on every sixth pixel.
    """
    size = (image_size_px, image_size_px)
    pixels_HWC = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC))
    # A copy: arrays from Pillow are read-only, and torch warns of those.
    unit_HWC = torch.from_numpy(pixels_HWC.copy()).to(torch.float32) / 255.0
    return ((unit_HWC - MEAN) / STD).movedim(-1, 0).unsqueeze(0).contiguous()


def _what_to_do() -> str:
    return f"Use {MODEL_NAME} from models/clip_vision with the node Load SigLIP."
