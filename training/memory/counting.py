"""Bytes of tensors that are alive, and operations, counted while a program runs: on real and on fake tensors.

On CUDA the figure of bytes is what `torch.cuda.max_memory_allocated` gives for the same tensors, without the
allocator's rounding to 512 bytes and without kernels' own workspaces.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

ELSEWHERE = "gradients and losses"  # what no named part makes: the backward pass, mostly


class LiveBytes(TorchDispatchMode):
    """Inside, every storage that an operator makes is counted until nobody holds it any more.

    peak     most bytes alive at once
    at_peak  of them, by the part that made them
    """

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self.at_peak: Mapping[str, int] = {}
        self._by_part: Counter[str] = Counter()
        self._parts = [ELSEWHERE]
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # A view and an operator in place return storage that they were given.
        given = {id(each.untyped_storage()) for each in _tensors((args, kwargs))}
        for made in _tensors(result):
            storage = made.untyped_storage()
            if id(storage) not in given and storage not in self._seen:
                self._add(storage)
        return result

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is made inside belongs to a part of this name."""
        self._parts.append(name)
        try:
            yield
        finally:
            self._parts.pop()

    @contextmanager
    def parts(self, modules: Mapping[nn.Module, str]) -> Iterator[None]:
        """What these modules make in their forward passes, recomputed ones too, belongs to parts of these names."""
        handles = []
        for module, name in modules.items():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: self._parts.append(name)))
            # Recomputing ends with an exception as soon as it has all it needs; the hook runs then too.
            handles.append(module.register_forward_hook(lambda *_: self._leave(), always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self) -> None:
        self._parts.pop()

    def _add(self, storage: torch.UntypedStorage) -> None:
        size, part = storage.nbytes(), self._parts[-1]
        self._seen[storage] = True
        # By the storage and not the tensor: a view keeps it alive.
        weakref.finalize(storage, self._free, size, part)
        self.live += size
        self._by_part[part] += size
        if self.live > self.peak:
            self.peak, self.at_peak = self.live, dict(self._by_part)

    def _free(self, size: int, part: str) -> None:
        self.live -= size
        self._by_part[part] -= size


class Operations(TorchDispatchMode):
    """Inside, the floating-point operations of products, convolutions and attention are added up, by torch's formulas.

    torch's own counter also notes which module they belong to, and what it holds for that keeps every recomputed block
    alive until the backward pass is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = getattr(func, "overloadpacket", None)
        if packet in _CPU_ATTENTION:
            self.total += _CPU_ATTENTION[packet](*args)
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        return result


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Two products of [L, C] with [C, S] and [L, S] with [S, C] in each head."""
    batch, heads, length, channels = query.shape
    return 2 * batch * heads * length * key.shape[-2] * (channels + value.shape[-1])


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Five products: the scores again, and the gradients of scores, queries, keys and values."""
    return 5 * _attention(query, key, value) // 2


# What tensors of the CPU choose; torch knows the formulas of CUDA's.
_CPU_ATTENTION: Mapping[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, each storage once."""
    return sum({id(storage): storage.nbytes() for storage in (each.untyped_storage() for each in tensors)}.values())


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))
