"""Images of the core as ComfyUI passes them on."""

from collections.abc import Sequence
from typing import Any

import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..withanyone_core.regions.preview import thumbnail


def images(images_HWC: Sequence[np.ndarray]) -> Tensor:
    """An IMAGE batch from 8-bit images of one size, each [H, W, 3]."""
    batch_BHWC = torch.from_numpy(np.stack(images_HWC)).to(torch.float32) / 255.0
    # Where ComfyUI keeps what nodes pass on: the CPU, unless it is run with --gpu-only.
    return batch_BHWC.to(comfy.model_management.intermediate_device())


def shown_small(cls: type[io.ComfyNode], image_HWC: np.ndarray, longest_px: int) -> dict[str, Any]:
    """An image for the browser alone, in the temp folder: what its /view address is made of."""
    batch_BHWC = torch.from_numpy(thumbnail(image_HWC, longest_px) / np.float32(255))[None]
    (saved,) = ui.PreviewImage(batch_BHWC, cls=cls).values
    return dict(saved)
