"""What the adapter needs on the device beside its weights, in ComfyUI's estimates: at Apply, and while sampling."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from comfy.model_management import dtype_size
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapter.keys import part_shapes
from ...adapter.shape import Branch, BranchShape
from .canvas import bind

_CONDITIONING = "withanyone"


def encoding_bytes(shape: BranchShape, tokens: int, stored: torch.dtype) -> int:
    """What one person's keys and values take while they are made, in float32, from weights of a type.

    They exist twice for a moment, of each layer and of all layers; before that, one matrix is there in float32 where it
    is stored in another type. Four times the person's tokens go in and out of the norms and projections.
    """
    sizes = {name: math.prod(size) for name, size in part_shapes(shape, "encoder").items()}
    last = sizes[f"layers.{shape.layers - 1}.to_kv.weight"]
    largest, last = (0, 0) if stored == torch.float32 else (max(sizes.values()), last)
    made = shape.layers * 2 * shape.inner * tokens
    return torch.float32.itemsize * (max(2 * made, made + last, largest) + 4 * tokens * shape.hidden)


class Demand:
    """What ComfyUI asks of a ControlNet before it decides how much of the model to load."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_models(self) -> list[ModelPatcher]:
        return []

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        return self.size


class KeysValuesMemory:
    """Adds the keys and values of one Apply, which are on the device while a run lasts, to the estimate."""

    def __init__(self, keys_values: Mapping[Branch, Sequence[Tensor]]) -> None:
        self.count = sum(made.numel() for people in keys_values.values() for made in people)

    def prepare_sampling(self, executor: Callable, *args: Any, **kwargs: Any) -> tuple:
        """PREPARE_SAMPLING wrapper: the estimate counts what conditionings bring along, so one is lent to it."""
        bound = bind(executor, args, kwargs)
        model, conds = bound.arguments["model"], bound.arguments["conds"]
        if model.get_additional_models_with_key("multigpu"):  # those copy every ControlNet for each device
            return executor(*args, **kwargs)
        demand = Demand(self.count * dtype_size(_activation_type(model)))
        bound.arguments["conds"] = {**conds, _free_name(conds): [{"control": demand}]}
        prepared = executor(*bound.args, **bound.kwargs)
        # What was lent for the estimate must not reach the sampler.
        return tuple(conds if value is bound.arguments["conds"] else value for value in prepared)


def _activation_type(model: ModelPatcher) -> torch.dtype | None:
    """Keys and values are cast to the type of the activations, which is not that of a quantized model's weights.

    None where a model does not tell; ComfyUI then counts it as float32.
    """
    return model.model.manual_cast_dtype or model.model_dtype()


def _free_name(taken: Iterable[str]) -> str:
    """Several Apply nodes each lend one."""
    names = (f"{_CONDITIONING}_{number}" for number in range(len(list(taken)) + 1))
    return next(name for name in names if name not in taken)
