"""Block swap: frozen blocks stay in the CPU's memory and are prefetched to the device, one ahead of the computation.

Copies go to the device only and are dropped after use: the CPU's tensors never change. With gradient checkpointing no
block's weights outlive its forward pass, and the backward pass, which computes the blocks again from the last to the
first, copies them in that order. So at most two are on the device: the one computed and the next.

diffusers' group offloading cannot do this while training: it moves blocks by their forward hooks, and a block that is
recomputed ends without its own, so that whatever the backward pass has touched stays on the device.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

_ALIGNED = 256  # bytes, as the device's own allocations
_SMALLEST_PIECE = 2**20  # bytes


def choose_swapped_blocks(blocks: int, count: int) -> tuple[int, ...]:
    """Which of `blocks` blocks are swapped: spread evenly, so that a copy has the time of several blocks.

    Raises ValueError where there are fewer than `count`.
    """
    if count > blocks:
        raise ValueError(
            f"memory.blocks_to_swap is {count}, and the base model has {blocks} blocks. Set it to {blocks} at most."
        )
    # The middles of `count` equal parts of all blocks.
    return tuple(int((number + 0.5) * blocks / count) for number in range(count))


def blocks_of(transformer: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer, double ones first, as the adapter counts its layers."""
    lists = ("transformer_blocks", "single_transformer_blocks")
    return [block for name in lists for block in transformer.get_submodule(name).children()]


def swap_blocks(transformer: nn.Module, layers: Sequence[int], device: torch.device) -> None:
    """Moves these blocks' tensors to the CPU's memory (pinned, for CUDA) and copies them to `device` when needed.

    Blocks are counted through double and single ones. Their own parameters have no values afterwards.
    """
    blocks = blocks_of(transformer)
    cpu_blocks = [_CpuBlock.of(blocks[layer], pinned=device.type == "cuda") for layer in layers]
    prefetcher = _Prefetcher(cpu_blocks, device)
    for number, layer in enumerate(layers):
        # Not by hooks: recomputation may stop a block early by an exception, and then a context manager ends while a
        # forward hook is never called.
        blocks[layer].forward = _with_swapping(blocks[layer].forward, prefetcher, number)
    transformer.register_forward_pre_hook(lambda *_: prefetcher.set_direction(1))
    # always_call: a pass that fails has to drop what it has prefetched, too.
    transformer.register_forward_hook(lambda *_: prefetcher.set_direction(-1), always_call=True)


def _with_swapping(forward: Callable[..., Any], prefetcher: "_Prefetcher", number: int) -> Callable[..., Any]:
    """A block's forward with its tensors loaded. Hooks on the block see neither the tensors nor the copy."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with prefetcher.loaded(number):
            return forward(*args, **kwargs)

    return run


@dataclass(frozen=True, eq=False)
class _Place:
    """Where in a block a tensor is, and where among the block's bytes."""

    held: dict[str, Any]  # the parameters or buffers of one module
    name: str
    dtype: torch.dtype
    shape: torch.Size
    start: int

    def of(self, flat: Tensor) -> Tensor:
        size = prod(self.shape) * self.dtype.itemsize
        return flat[self.start : self.start + size].view(self.dtype).view(self.shape)


@dataclass(frozen=True, eq=False)
class _CpuBlock:
    """A block's tensors in the CPU's memory, one behind the other.

    pieces  uint8; sizes are powers of two, which pinned memory is rounded up to
    """

    places: tuple[_Place, ...]
    pieces: tuple[Tensor, ...]
    size: int

    @classmethod
    def of(cls, block: nn.Module, pinned: bool) -> "_CpuBlock":
        places, tensors, size = [], [], 0
        for owner in block.modules():
            # Through the dicts: `setattr` refuses a plain tensor where a parameter is registered.
            for held in (owner._parameters, owner._buffers):
                for name, tensor in held.items():
                    if tensor is not None:
                        places.append(_Place(held, name, tensor.dtype, tensor.shape, size))
                        tensors.append(tensor.detach())
                        # Rounded up, since a view of bytes as another type needs an aligned start.
                        size += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        flat = torch.empty(size, dtype=torch.uint8)
        for place, tensor in zip(places, tensors, strict=True):
            place.of(flat).copy_(tensor)
            empty = torch.empty_like(tensor, device="meta")
            is_parameter = isinstance(place.held[place.name], nn.Parameter)
            place.held[place.name] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
        pieces = []
        for start, length in _pieces(size):
            pieces.append(torch.empty(length, dtype=torch.uint8, pin_memory=pinned))
            part = flat[start : start + length]
            pieces[-1][: len(part)].copy_(part)
        return cls(tuple(places), tuple(pieces), size)

    def copy_to(self, flat: Tensor) -> None:
        start = 0
        for piece in self.pieces:
            part = flat[start : start + len(piece)]
            part.copy_(piece[: len(part)], non_blocking=True)
            start += len(piece)

    @contextmanager
    def filled(self, flat: Tensor) -> Iterator[None]:
        """Inside, the block's tensors are those in `flat`."""
        empty = [place.held[place.name] for place in self.places]
        try:
            for place in self.places:
                place.held[place.name] = place.of(flat)
            yield
        finally:
            for place, tensor in zip(self.places, empty, strict=True):
                place.held[place.name] = tensor


@dataclass(frozen=True, eq=False)
class _Transfer:
    """The copy of a block to the device. `event` is set when it is complete; None on the CPU."""

    number: int
    flat: Tensor
    event: torch.cuda.Event | torch.Event | None

    def wait(self) -> Tensor:
        if self.event is not None:
            # The stream waits for the copy, not the CPU.
            torch.cuda.current_stream(self.flat.device).wait_event(self.event)
        return self.flat


class _Prefetcher:
    """Copies blocks to the device, each while the block before it computes."""

    def __init__(self, cpu_blocks: Sequence[_CpuBlock], device: torch.device) -> None:
        self._cpu_blocks, self._device = cpu_blocks, device
        # A stream of its own, so that copies run while the block before computes.
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: _Transfer | None = None
        self._direction = 1

    def set_direction(self, direction: int) -> None:
        """From now on the next block is the one after (1) or before (-1)."""
        self._direction = direction
        self._drop()

    @contextmanager
    def loaded(self, number: int) -> Iterator[None]:
        """Inside, a block's tensors are on the device and the next block's are on their way."""
        # The first block of a pass, or one that the direction did not foresee.
        if self._next is None or self._next.number != number:
            self._drop()
            self._next = self._fetch(number)
        flat, self._next = self._next.wait(), None
        following = number + self._direction
        if 0 <= following < len(self._cpu_blocks):
            self._next = self._fetch(following)
        with self._cpu_blocks[number].filled(flat):
            yield

    def _fetch(self, number: int) -> _Transfer:
        """Memory is taken from the computation's stream, which the copy waits for: what lay there before is then done
        with, and the computation that is started next runs beside the copy."""
        home = self._cpu_blocks[number]
        flat = torch.empty(home.size, dtype=torch.uint8, device=self._device)
        if self._side is None:
            home.copy_to(flat)
            return _Transfer(number, flat, None)
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            home.copy_to(flat)
            return _Transfer(number, flat, self._side.record_event())

    def _drop(self) -> None:
        """Drops a prefetched block that was not asked for; its memory is free once the copy into it is done."""
        if self._next is not None:
            self._next.wait()
        self._next = None


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Starts and lengths, powers of two, that cover `size` bytes and waste less than the smallest."""
    start = 0
    while start < size:
        rest = size - start
        length = max(_SMALLEST_PIECE, 1 << (rest.bit_length() - 1))
        yield start, length
        start += length
