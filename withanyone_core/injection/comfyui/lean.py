"""ComfyUI's casting layer without its search for what to cast, where nothing is."""

from typing import ClassVar

import comfy.ops
import torch.nn.functional as F
from torch import Tensor


class LeanLinear(comfy.ops.manual_cast.Linear):
    """A Linear whose weights are used as they lie if they are on the stream's device, in its type and unpatched.

    The search takes the host as long as the product of a small step takes the device.
    """

    def forward(self, entered: Tensor) -> Tensor:
        weight = self.weight
        is_ready = weight.dtype == entered.dtype and weight.device == entered.device
        # Functions are patches that ComfyUI adds as the layer runs, LoRAs among them.
        if not is_ready or self.weight_function or self.bias_function:
            return super().forward(entered)
        return F.linear(entered, weight, self.bias)


class LeanOperations:
    """The layers of a module that runs at every block."""

    Linear: ClassVar = LeanLinear
