"""From the gradients of all processes to a step of the optimizer, whose states a checkpoint keeps whole."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import zero
from .optimizer import optimizer_numbers, optimizer_tensors, restore_optimizer
from .processes import Processes


class Update:
    """Gradients are summed over the processes; parameters and the optimizer's states are whole in each of them."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, processes: Processes
    ) -> None:
        self._parameters, self._optimizer, self._processes = parameters, optimizer, processes
        self._names = {parameter: name for name, parameter in parameters.items()}

    def backward(self, share: Tensor, is_last: bool) -> None:
        """Adds the gradients of a pass's share of the loss; `is_last`: of the last pass of a step."""
        share.backward()

    def step(self, rate: float, clip: float, is_sound: bool) -> tuple[float, bool]:
        """The norm of all gradients before they were clipped, and whether the parameters were changed.

        They are not where the loss was not sound or the norm is no number.
        """
        parameters = list(self._parameters.values())
        self._processes.sum_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, clip or math.inf))
        is_sound = is_sound and math.isfinite(norm)
        if is_sound:
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm, is_sound

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's states, `NAME/KIND`; all processes are to ask."""
        return optimizer_tensors(self._optimizer, self._names)

    def numbers(self) -> dict[str, Any]:
        """Its states that are no tensors."""
        return optimizer_numbers(self._optimizer, self._names)

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Puts states back, after the parameters were."""
        restore_optimizer(self._optimizer, self._parameters, tensors, numbers)


def make_update(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, processes: Processes
) -> "Update | zero.ZeroUpdate":
    """DeepSpeed's where the run was launched for it."""
    if processes.count > 1 and zero.is_asked_for():
        return zero.ZeroUpdate(parameters, optimizer, processes)
    return Update(parameters, optimizer, processes)
