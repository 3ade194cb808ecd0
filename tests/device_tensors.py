"""Tensors that behave as if they were on a device of their own: a partner on the CPU is refused.

For machines without one. Only copies cross over, as `to` and `copy_` do on a real device; tensors without dimensions
may be on the CPU there, too.
"""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

_CROSSINGS = {"copy_", "_to_copy"}


class OnDevice(Tensor):
    """A tensor of the device. `mixed` collects the operations at which floating types met."""

    mixed: list[str] = []  # noqa: RUF012 - one list for all, as operations belong to no tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        about = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return Tensor._make_wrapper_subclass(cls, inner.shape, device=inner.device, **about)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: object) -> str:
        return f"OnDevice({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(
        cls, function: torch._ops.OpOverload, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if name not in _CROSSINGS:
            if any(not isinstance(tensor, cls) and tensor.ndim for tensor in tensors):
                raise RuntimeError(f"{name}: a partner of a tensor on the device is on the CPU")
            if len({tensor.dtype for tensor in tensors if tensor.is_floating_point()}) > 1:
                cls.mixed.append(name)
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        out = function(*inner_args, **inner_kwargs)
        if function._schema.is_mutable:
            return args[0]
        return tree_map(lambda value: cls(value) if isinstance(value, Tensor) else value, out)


def _inner(value: object) -> object:
    return value.inner if isinstance(value, OnDevice) else value


def move(module: nn.Module) -> nn.Module:
    """The module with its parameters on the device."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            moved = nn.Parameter(OnDevice(parameter.detach()), parameter.requires_grad)
            part.register_parameter(name, moved)
    return module
