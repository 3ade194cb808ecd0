"""Pictures of the core as ComfyUI passes them on."""

from collections.abc import Sequence

import comfy.model_management
import numpy as np
import torch
from torch import Tensor


def images(pictures_HWC: Sequence[np.ndarray]) -> Tensor:
    """An IMAGE batch from 8-bit pictures of one size, each [H, W, 3]."""
    batch_BHWC = torch.from_numpy(np.stack(pictures_HWC)).to(torch.float32) / 255.0
    return batch_BHWC.to(comfy.model_management.intermediate_device())
