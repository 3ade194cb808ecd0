"""Where a program waits for its device: numbers read back, and tensors copied from one device to another."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What needs values on the CPU: item(), bool(), and results whose size depends on values.
_READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "_unique2", "unique_consecutive"}


class HostReads(TorchDispatchMode):
    """Collects the names of operations at which a CPU waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: torch._ops.OpOverload, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in _READS or (name in ("_to_copy", "copy_") and len(_devices((args, out))) > 1):
            self.found.append(name)
        return out


def _devices(values: object) -> set[torch.device]:
    return {value.device for value in tree_leaves(values) if isinstance(value, torch.Tensor)}
