"""The optimizer: its learning-rate schedule, a step from the gradients of all processes, and the EMA of weights."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..configuration.learning import OWN_OPTIMIZERS, OptimSettings
from ..distributed import zero
from ..distributed.processes import Processes
from . import third_party

# Of the peak rate: a cosine that ends at 0 wastes the last steps.
FINAL_LR_FRACTION = 0.1
# Prodigy's estimates, the same in all groups.
_ESTIMATES = ("d", "d_max", "d_hat", "d_numerator", "step")
_GROUP = "group"


def learning_rate(settings: OptimSettings, step: int, steps: int) -> float:
    """The learning rate after `step` of `steps` steps: a function, so that a checkpoint need not hold a scheduler."""
    # step + 1: the first step already moves the weights, by a fraction of the rate.
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "constant":
        return settings.lr * warm
    progress = min(1.0, max(0, step - settings.warmup_steps) / max(1, steps - settings.warmup_steps))
    return settings.lr * warm * (FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress)))


def make_optimizer(settings: OptimSettings, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer over named parameters, with weight decay on matrices only. Raises as `optimizer_class`."""
    matrices = [parameter for parameter in parameters.values() if parameter.ndim > 1]
    biases = [parameter for parameter in parameters.values() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    choices = {"lr": settings.lr, "betas": settings.betas, "eps": settings.eps}
    if settings.name not in OWN_OPTIMIZERS:
        return third_party.made(settings, groups)
    if settings.name == "adamw":
        on_cuda = all(parameter.is_cuda for parameter in parameters.values())
        choices["fused"] = on_cuda if settings.fused == "auto" else settings.fused
    elif settings.name == "prodigy":
        # Warm-up must not look to Prodigy like a need for larger steps.
        choices["safeguard_warmup"] = settings.warmup_steps > 0
    return optimizer_class(settings)(groups, **choices)


def optimizer_class(settings: OptimSettings) -> type[torch.optim.Optimizer]:
    """Its class. RuntimeError where a library is missing, or the CUDA device that 8-bit states need.

    ValueError for a class of pytorch-optimizer that is unknown, or does not work as training needs it.
    """
    if settings.name not in OWN_OPTIMIZERS:
        found = third_party.named_class(settings)
        _check_resumes(settings)
        return found
    if settings.name == "adamw":
        return torch.optim.AdamW
    if settings.name == "prodigy":
        return _prodigy()
    try:
        import bitsandbytes
    except ImportError as error:
        raise RuntimeError(
            "optim.name is adamw8bit, which needs bitsandbytes, and that is not installed. Run `python -m pip install "
            "bitsandbytes`, or set optim.name=adamw (four times the memory for the optimizer's states)."
        ) from error
    if not torch.cuda.is_available():
        raise RuntimeError("optim.name is adamw8bit, which needs a CUDA device. Set optim.name=adamw.")
    return bitsandbytes.optim.AdamW8bit  # pyright: ignore[reportPrivateImportUsage]  its public name, unlisted


def _prodigy() -> type[torch.optim.Optimizer]:
    try:
        from pytorch_optimizer import Prodigy
    except ImportError as error:
        raise RuntimeError(
            "optim.name is prodigy, which needs pytorch-optimizer, and that is not installed. Run `python -m pip "
            "install pytorch-optimizer`, or set optim.name=adamw and a rate (optim.lr=1e-4)."
        ) from error
    return Prodigy


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """The optimizer's states by parameter and kind: `KEY/exp_avg`; those of groups: `group/KIND`."""
    return {name: value for name, value in _states(optimizer, names) if isinstance(value, Tensor)}


def optimizer_numbers(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, float]:
    """States that are plain numbers (bitsandbytes counts its steps in one)."""
    return {name: value for name, value in _states(optimizer, names) if isinstance(value, int | float)}


def _states(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> Iterator[tuple[str, object]]:
    for kind in _ESTIMATES:
        if kind in optimizer.param_groups[0]:
            yield f"{_GROUP}/{kind}", optimizer.param_groups[0][kind]
    for parameter, states in optimizer.state.items():
        for kind, value in states.items():
            yield f"{names[parameter]}/{kind}", value


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, float],
) -> None:
    """Puts states back where `optimizer_tensors` and `optimizer_numbers` took them."""
    # AdamW counts its steps on the CPU, whatever the parameter's device; its fused step beside the parameter.
    is_fused = bool(optimizer.defaults.get("fused"))
    for values in (tensors, numbers):
        for name, value in values.items():
            key, kind = name.rsplit("/", 1)
            if key == _GROUP:
                for group in optimizer.param_groups:
                    group[kind] = value
                continue
            parameter = parameters[key]
            if isinstance(value, Tensor) and (kind != "step" or is_fused):
                value = value.to(parameter.device)
            optimizer.state[parameter][kind] = value


def trial_bytes(settings: OptimSettings) -> float:
    """Bytes of states for each number that is trained, measured on a small matrix."""
    parameters = third_party.trial_parameters()
    optimizer = make_optimizer(settings, parameters)
    third_party.advance(optimizer, parameters, range(2))
    names: dict[Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    tensors = optimizer_tensors(optimizer, names).values()
    return sum(tensor.nbytes for tensor in tensors) / sum(parameter.numel() for parameter in parameters.values())


def _check_resumes(settings: OptimSettings) -> None:
    """ValueError where an optimizer cannot step here, or a run that resumes with it would not be the same run."""
    whole = third_party.trial_parameters()
    optimizer = make_optimizer(settings, whole)
    third_party.advance(optimizer, whole, range(3))
    names: dict[Tensor, str] = {parameter: name for name, parameter in whole.items()}
    tensors = {name: value.clone() for name, value in optimizer_tensors(optimizer, names).items()}
    numbers = optimizer_numbers(optimizer, names)
    resumed = {name: nn.Parameter(value.detach().clone()) for name, value in whole.items()}
    again = make_optimizer(settings, resumed)
    restore_optimizer(again, resumed, tensors, numbers)
    third_party.advance(optimizer, whole, range(3, 5))
    third_party.advance(again, resumed, range(3, 5))
    if any(not torch.equal(resumed[name], value) for name, value in whole.items()):
        raise ValueError(
            f"optim.name is {settings.name}, which keeps more than checkpoints hold, so a run could not be resumed as "
            "the same run. Choose another, such as Lion, or set optim.name=adamw."
        )


class ExponentialMovingAverage:
    """EMA of the parameters in float32: the weights that become the result."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().float().clone() for name, value in parameters.items()} if decay else {}

    def update(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Takes in the parameters after `step` finished steps; early on faster, so that the start is forgotten."""
        # The warm-up that TensorFlow gives its moving averages.
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.tensors.items():
            average.lerp_(parameters[name].detach().float(), 1 - decay)


class Update:
    """Optimizer step with gradients summed over the processes, each of which holds all parameters and states."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, processes: Processes
    ) -> None:
        self._parameters, self._optimizer, self._processes = parameters, optimizer, processes
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in parameters.items()}

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Accumulates the gradients of this process's part of a loss; `is_last`: of the last micro-batch of a step."""
        loss.backward()

    def step(self, rate: float, max_norm: float, is_finite: bool) -> tuple[float, bool]:
        """The norm of all gradients before clipping, and whether the parameters were changed.

        They are not where the loss or the norm is NaN or infinite.
        """
        parameters = list(self._parameters.values())
        # Before clipping, which is meant for the gradient of the whole batch.
        self._processes.sum_gradients(parameters)
        # 0 switches clipping off; the norm is wanted all the same, to log it and to find NaN.
        norm = float(nn.utils.clip_grad_norm_(parameters, max_norm or math.inf))
        is_finite = is_finite and math.isfinite(norm)
        if is_finite:
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm, is_finite

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's states, `NAME/KIND`; to be called by all processes."""
        return optimizer_tensors(self._optimizer, self._names)

    def numbers(self) -> dict[str, Any]:
        """Its states that are no tensors."""
        return optimizer_numbers(self._optimizer, self._names)

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Restores the states, after the parameters."""
        restore_optimizer(self._optimizer, self._parameters, tensors, numbers)


def make_update(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, processes: Processes
) -> Update | zero.ZeroUpdate:
    """DeepSpeed's where the run was launched for it."""
    if processes.count > 1 and zero.is_deepspeed_requested():
        return zero.ZeroUpdate(parameters, optimizer, processes)
    return Update(parameters, optimizer, processes)
