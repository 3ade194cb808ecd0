"""The optimizer, its learning rate at a step, and the average of what it makes."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..configuration.finetune import OptimSettings

# A cosine that ends at 0 wastes the last steps.
LAST_SHARE = 0.1
# What Prodigy finds out, the same in all groups.
_FOUND = ("d", "d_max", "d_hat", "d_numerator", "step")
_GROUP = "group"


def learning_rate(settings: OptimSettings, step: int, steps: int) -> float:
    """The rate of the step after `step` finished ones, of `steps` in all: a function, so that nothing is to be kept."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "constant":
        return settings.lr * warm
    way = min(1.0, max(0, step - settings.warmup_steps) / max(1, steps - settings.warmup_steps))
    return settings.lr * warm * (LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * way)))


def make_optimizer(settings: OptimSettings, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW or Prodigy over named parameters, with weight decay on matrices only. RuntimeError as `optimizer_class`."""
    matrices = [parameter for parameter in parameters.values() if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters.values() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    choices = {"lr": settings.lr, "betas": settings.betas, "eps": settings.eps}
    if settings.name == "adamw":
        on_cuda = all(parameter.is_cuda for parameter in parameters.values())
        choices["fused"] = on_cuda if settings.fused == "auto" else settings.fused
    elif settings.name == "prodigy":
        # The rate's slow start is not to be taken for a need of larger steps.
        choices["safeguard_warmup"] = settings.warmup_steps > 0
    return optimizer_class(settings)(groups, **choices)


def optimizer_class(settings: OptimSettings) -> type[torch.optim.Optimizer]:
    """Its class. RuntimeError where a library is missing, or the CUDA device that 8-bit states need."""
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
    return bitsandbytes.optim.AdamW8bit


def _prodigy() -> type[torch.optim.Optimizer]:
    try:
        from pytorch_optimizer import Prodigy
    except ImportError as error:
        raise RuntimeError(
            "optim.name is prodigy, which needs pytorch-optimizer, and that is not installed. Run `python -m pip "
            "install pytorch-optimizer`, or set optim.name=adamw and a rate (optim.lr=1e-4)."
        ) from error
    return Prodigy


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """The optimizer's states by parameter and kind: `KEY/exp_avg`; those of groups: `group/KIND`."""
    return {name: value for name, value in _states(optimizer, names) if isinstance(value, Tensor)}


def optimizer_numbers(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, float]:
    """States that are plain numbers (bitsandbytes counts its steps in one)."""
    return {name: value for name, value in _states(optimizer, names) if isinstance(value, int | float)}


def _states(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> Iterator[tuple[str, object]]:
    for kind in _FOUND:
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
            moves = isinstance(value, Tensor) and (kind != "step" or is_fused)
            optimizer.state[parameter][kind] = value.to(parameter.device) if moves else value


class Average:
    """A running average of parameters in float32, the adapter that is kept in the end."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().float().clone() for name, value in parameters.items()} if decay else {}

    def update(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Takes in the parameters after `step` finished steps; early on faster, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.tensors.items():
            average.lerp_(parameters[name].detach().float(), 1 - decay)
