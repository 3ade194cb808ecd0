"""Photos as ComfyUI hands them over (float tensors) turned into what face libraries read (8-bit RGB)."""

import numpy as np
import torch
from torch import Tensor

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
LARGEST_PLAUSIBLE = 16.0  # 0..1 with room for high dynamic range; images in 0..255 lie far above


def image_arrays(photos: Tensor, input_name: str = "photos") -> tuple[np.ndarray, ...]:
    """8-bit RGB images [H, W, 3] of an IMAGE batch [B, H, W, C], float in 0..1; values outside are clipped.

    Grey (C = 1) expands to three channels. RGBA (C = 4, not premultiplied) is laid over black: that is how the released
    program shows cut-out people to SigLIP, and both the detector's letterbox and ArcFace's alignment pad with black.

    Raises ValueError, naming `input_name`, for anything that is not such a batch or holds NaN or infinity.
    """
    if not isinstance(photos, Tensor):
        raise ValueError(f"{input_name}: expected an IMAGE batch, got {type(photos).__name__}.")
    shape = tuple(photos.shape)
    if photos.ndim != 4:
        raise ValueError(f"{input_name}: expected an IMAGE batch [images, height, width, channels], got shape {shape}.")
    if 0 in shape:
        raise ValueError(f"{input_name}: the IMAGE batch is empty (shape {shape}); connect at least one photo.")
    if shape[-1] not in CHANNELS:
        raise ValueError(f"{input_name}: expected 1 (grey), 3 (RGB) or 4 (RGBA) channels last, got shape {shape}.")
    if not photos.is_floating_point():
        raise ValueError(f"{input_name}: expected floating point values from 0 to 1, got {photos.dtype}.")
    return tuple(_image(photo, f"{input_name}: photo {number}") for number, photo in enumerate(photos, start=1))


def size_text(photo: np.ndarray) -> str:
    """Width and height of an image [H, W, 3], for messages."""
    return f"{photo.shape[1]} x {photo.shape[0]} pixels"


def _image(photo_HWC: Tensor, label: str) -> np.ndarray:
    photo_HWC = photo_HWC.detach().to("cpu", torch.float32)
    broken = int((~torch.isfinite(photo_HWC)).sum())
    if broken:
        raise ValueError(f"{label} holds {broken} values that are NaN or infinite; check the node that made it.")
    if photo_HWC.max() > LARGEST_PLAUSIBLE:
        largest = float(photo_HWC.max())
        raise ValueError(f"{label} has values up to {largest:g}; expected 0 to 1 (divide 8-bit values by 255).")
    photo_HWC = photo_HWC.clamp(0.0, 1.0)
    if photo_HWC.shape[-1] == 4:
        photo_HWC = photo_HWC[..., :3] * photo_HWC[..., 3:]
    # Rounding gives back the very 8-bit values that were divided by 255.
    return (photo_HWC * 255.0).round().to(torch.uint8).expand(-1, -1, 3).contiguous().numpy()
