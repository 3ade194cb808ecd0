"""Peak memory: bytes that a run holds from its first step to its last, and the peak of a step above them.

With P trained parameters, all float32:

weights             4 P, and the adapter's other weights in the base model's type
optimizer's states  adamw 8 P (two float32 averages); adamw8bit 2 P and a float32 for 256 of each, where a tensor has
                    4096 values or more (Dettmers et al., arXiv 2110.02861); prodigy 16 P (the averages, the start and
                    the estimate's sum; Mishchenko and Defazio, arXiv 2306.06101)
average of weights  4 P with optim.ema
gradients           4 P, counted where they arise (dry_run.py)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ..base.block_swap import choose_swapped_blocks
from ..configuration.finetune import Finetune
from ..configuration.learning import OptimSettings
from ..loop.optimizer import trial_bytes
from .counting import tensor_bytes
from .dry_run import DryRun, DummyModels, dry_run
from .fake_tensors import BatchShape
from .validation import validation_bytes
from .weight_bytes import base_bytes, block_bytes

GIB = 2**30
CONTEXT = GIB  # of a process on CUDA: the device's own context, and workspaces of its libraries
SLACK = 0.1  # of all the rest: what an allocator cannot use between its pieces
_BLOCKWISE, _SMALL = 256, 4096  # of bitsandbytes' 8-bit optimizers


@dataclass(frozen=True)
class Part:
    """One row of the table: a name, and bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Memory:
    """The predicted peak of a run's steps.

    held      what is there all the time
    passing   what a pass adds at its peak, by who makes it
    validating  what a validation adds instead, by what it is; nothing where the run has none
    host      what lies in the CPU's memory instead: swapped blocks
    """

    held: tuple[Part, ...]
    passing: tuple[Part, ...]
    validating: tuple[Part, ...] = ()
    host: int = 0

    @property
    def peak(self) -> int:
        """Bytes of tensors on the device in a step, as `torch.cuda.max_memory_allocated` counts them."""
        return sum(part.size for part in (*self.held, *self.passing))

    @property
    def validation_peak(self) -> int:
        """The same in a validation."""
        return sum(part.size for part in (*self.held, *self.validating))

    @property
    def needed(self) -> int:
        """What a card must have."""
        return round((1 + SLACK) * max(self.peak, self.validation_peak)) + CONTEXT

    def fits(self, card: int) -> bool:
        return self.needed <= card


def memory(models: DummyModels, shape: BatchShape, settings: Finetune) -> Memory:
    """The peak of a step whose passes are of this size, and of a validation."""
    passed, validated = dry_run(models, shape, settings), validation_bytes(models, shape, settings)
    return memory_from(models, shape, settings, passed, validated)


def memory_from(
    models: DummyModels,
    shape: BatchShape,
    settings: Finetune,
    passed: DryRun,
    validated: Mapping[str, int] | None = None,
) -> Memory:
    """The same from an earlier dry run; precision and block swap change nothing in it."""
    base, host = _base(models.frozen.transformer, settings)
    trained = tensor_bytes(models.adapter.trained)
    fixed = [parameter for parameter in models.adapter.network.parameters() if not parameter.requires_grad]
    held = (
        Part(f"base model, {settings.base.precision}", base),
        Part("VAE and recognizer", _others(models)),
        Part(f"adapter, {settings.adapter.branch}", tensor_bytes(fixed)),
        Part(f"trained weights, {_numbers(models.adapter.trained)}", trained),
        Part(f"optimizer's states, {settings.optim.name}", state_bytes(models.adapter.trained, settings.optim)),
        Part("average of weights", trained if settings.optim.ema else 0),
        # The bank's rows on the device, in float32.
        Part("negatives", 4 * shape.negatives[0] * shape.embedding),
    )
    passing = tuple(Part(name, size) for name, size in passed.by_part.items())
    validating = tuple(Part(name, size) for name, size in (validated or {}).items())
    held, passing, validating = (tuple(part for part in parts if part.size) for parts in (held, passing, validating))
    return Memory(held, passing, validating, host)


def state_bytes(trained: Sequence[nn.Parameter], optim: OptimSettings) -> int:
    """Bytes of the optimizer's states."""
    if optim.name not in _STATES:
        each = trial_bytes(optim)
        return round(sum(each * parameter.numel() for parameter in trained))
    return sum(_STATES[optim.name](parameter.numel()) for parameter in trained)


def _eight_bit(count: int) -> int:
    # Two states of a byte each, and for both the float32 scales of blocks.
    return 8 * count if count < _SMALL else 2 * count + 2 * 4 * -(-count // _BLOCKWISE)


_STATES: Mapping[str, Callable[[int], int]] = {
    "adamw": lambda count: 8 * count,
    "adamw8bit": _eight_bit,
    "prodigy": lambda count: 16 * count,
}


def _base(transformer: nn.Module, settings: Finetune) -> tuple[int, int]:
    """Bytes on the device and in the CPU's memory. A swapped block is computed with while the next one arrives."""
    precision, swapped = settings.base.precision, settings.memory.blocks_to_swap
    whole, blocks = base_bytes(transformer, precision), block_bytes(transformer, precision)
    gone = [blocks[layer] for layer in choose_swapped_blocks(len(blocks), swapped)]
    there = max((sum(gone[first : first + 2]) for first in range(len(gone))), default=0)
    return whole - sum(gone) + there, sum(gone)


def _others(models: DummyModels) -> int:
    recognizer = models.frozen.recognizer
    modules = [models.frozen.vae, *([recognizer] if isinstance(recognizer, nn.Module) else [])]
    return sum(tensor_bytes([*module.parameters(), *module.buffers()]) for module in modules)


def _numbers(trained: Sequence[nn.Parameter]) -> str:
    count = sum(parameter.numel() for parameter in trained)
    return f"{count / 1e6:.1f} million" if count >= 1e5 else f"{count:,}"
