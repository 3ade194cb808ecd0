"""FSDP2: the frozen base model sharded among the processes, for cards that cannot hold all of it.

Of each block every process keeps its part; the whole block is put together when it is computed, in the backward pass
once more, and let go. The adapter is small beside the base and works in hooks between its blocks, so it is whole
everywhere: its gradients are summed, and a checkpoint is the same for any number of processes.
"""

import torch
from accelerate.utils import parse_flag_from_env
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from ..base.block_swap import blocks_of
from ..base.family import Transformer
from ..configuration.finetune import Finetune


def is_fsdp_requested() -> bool:
    """Whether `accelerate launch` was given an FSDP configuration."""
    return parse_flag_from_env("ACCELERATE_USE_FSDP")


def check_shardable(settings: Finetune) -> None:
    """ValueError for a base that is kept in a way that cannot be sharded."""
    if settings.base.precision not in ("bf16", "fp32"):
        raise ValueError(
            f"base.precision is {settings.base.precision}, and FSDP shards matrices of plain numbers. Set "
            "base.precision=bf16: each process then holds its part only; or launch with ddp.yaml."
        )
    if settings.memory.blocks_to_swap:
        raise ValueError(
            "memory.blocks_to_swap and FSDP both keep blocks off the device. Set memory.blocks_to_swap=0; to keep the "
            "parts in the CPU's memory set fsdp_offload_params in the accelerate configuration."
        )


def shard(transformer: Transformer, processes: int, device: torch.device) -> None:
    """Shards a transformer that lies on the CPU, leaving this process its part."""
    mesh = init_device_mesh(device.type, (processes,))
    offload = CPUOffloadPolicy() if parse_flag_from_env("FSDP_OFFLOAD_PARAMS") else OffloadPolicy()
    for block in blocks_of(transformer):
        fully_shard(block, mesh=mesh, reshard_after_forward=True, offload_policy=offload)
    # The blocks first: the root then takes only what lies outside them, and each block is gathered by itself.
    fully_shard(transformer, mesh=mesh, offload_policy=offload)


def is_sharded(transformer: nn.Module) -> bool:
    """Whether a forward pass needs all processes."""
    return any(isinstance(parameter, DTensor) for parameter in transformer.parameters())
