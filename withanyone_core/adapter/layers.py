"""Where the layers of an adapter's modules come from: `torch.nn`, or ComfyUI's casting layers."""

from collections.abc import Callable
from typing import Protocol

from torch import nn


class LinearLayers(Protocol):
    @property
    def Linear(self) -> Callable[..., nn.Linear]: ...


class Layers(LinearLayers, Protocol):
    @property
    def LayerNorm(self) -> Callable[..., nn.LayerNorm]: ...
