"""ZeRO (DeepSpeed) over the adapter: each process keeps a part of the gradients and of the optimizer's states.

The base model is frozen and whole in every process, so what ZeRO shards is what the adapter adds to it. DeepSpeed
sums, clips and steps; a checkpoint holds whole states all the same, and opens without DeepSpeed and elsewhere.
"""

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from accelerate.utils import DeepSpeedPlugin, parse_flag_from_env
from torch import Tensor, nn

from .processes import Processes

STATES = ("exp_avg", "exp_avg_sq")


def is_deepspeed_requested() -> bool:
    """Whether `accelerate launch` was given a DeepSpeed configuration. RuntimeError where it is not installed."""
    asked = parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")
    if asked and find_spec("deepspeed") is None:
        raise RuntimeError(
            "The accelerate configuration names DeepSpeed, which is not installed. Run `python -m pip install "
            "deepspeed`, or launch with ddp.yaml or fsdp2.yaml."
        )
    return asked


def check_shardable(optimizer: str) -> None:
    """ValueError where the optimizer's states cannot be sharded."""
    if optimizer != "adamw":
        raise ValueError(
            f"optim.name is {optimizer}, and DeepSpeed shards the states of AdamW only. Set optim.name=adamw, or "
            "launch with ddp.yaml or fsdp2.yaml."
        )


class ZeroUpdate:
    """As Update, by DeepSpeed's engine."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        processes: Processes,
    ) -> None:
        import deepspeed

        self._parameters, self._processes = parameters, processes
        # The engine gets the parameters alone; the forward pass is not its affair.
        module = nn.Module()
        for number, parameter in enumerate(parameters.values()):
            module.register_parameter(f"parameter_{number}", parameter)
        self._engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=_configuration(), dist_init_required=False
        )
        self._states()

    def backward(self, loss: Tensor, is_last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(is_last)
        # DeepSpeed takes the mean over processes of what are parts of a sum.
        self._engine.backward(loss * self._processes.count)

    def step(self, rate: float, max_norm: float, is_finite: bool) -> tuple[float, bool]:
        sharded = self._engine.optimizer
        sharded.clip_grad = max_norm
        for group in sharded.param_groups:
            group["lr"] = rate
        self._engine.step()
        # DeepSpeed knows the norm only after its step.
        norm = float(self._engine.get_global_grad_norm())
        return norm, is_finite and not sharded.overflow and math.isfinite(norm)

    def tensors(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        taken = next(state["step"] for state in self._states()).detach().cpu()
        found = {}
        for name, parameter in self._parameters.items():
            for kind in STATES:
                found[f"{name}/{kind}"] = safe_get_full_optimizer_state(parameter, kind).detach().cpu()
            found[f"{name}/step"] = taken.clone()
        return found

    def numbers(self) -> dict[str, Any]:
        return {}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        # The engine made its float32 copies before a checkpoint was loaded into the parameters.
        for parameter in self._parameters.values():
            safe_set_full_fp32_param(parameter, parameter.detach().clone())
        taken = next((value for name, value in tensors.items() if name.endswith("/step")), torch.tensor(0.0))
        for state in self._states():
            state["step"].copy_(taken)
        for name, parameter in self._parameters.items():
            for kind in STATES:
                # A parameter that no sample has reached yet has no states.
                value = tensors.get(f"{name}/{kind}", torch.zeros_like(parameter))
                safe_set_full_optimizer_state(parameter, value.to(parameter.device), kind)

    def _states(self) -> list[dict[str, Tensor]]:
        """AdamW's own states, of this process's part of each group.

        Begun here: DeepSpeed links them to the parameters after the first group's first step, when others have none.
        """
        sharded = self._engine.optimizer
        inner = sharded.optimizer
        parts = [part for group in inner.param_groups for part in group["params"]]
        for part in parts:
            if not inner.state[part]:
                # AdamW counts its steps on the CPU, its fused step beside the parameters.
                taken = torch.zeros((), device=part.device if inner.defaults.get("fused") else "cpu")
                inner.state[part] = {"step": taken, **{kind: torch.zeros_like(part) for kind in STATES}}
        sharded._lazy_init_hp_params_optimizer_state()
        return [inner.state[part] for part in parts]


def _configuration() -> dict[str, Any]:
    """DeepSpeed's configuration: the accelerate configuration's ZeRO; samples and micro-batches are counted here."""
    plugin = DeepSpeedPlugin()  # reads what `accelerate launch` has set
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,  # set at each step, to optim.max_grad_norm
        "zero_optimization": plugin.deepspeed_config["zero_optimization"],
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
