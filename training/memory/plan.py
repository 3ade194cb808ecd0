"""How a run would use a device: the memory it needs, and what would make it fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from ..base.block_swap import blocks_of
from ..configuration.finetune import Finetune
from .dry_run import DryRun, DummyModels, dry_run
from .dummy_models import changed
from .fake_tensors import BatchShape
from .peak import Memory, memory_from
from .validation import is_validated, validation_bytes

MakeModels = Callable[[Finetune], DummyModels]
Changes = Mapping[str, object]
_SMALLEST: Changes = {"train.mode": "lora", "train.rank": 32}
_ALONE: Changes = {"validation.resemblance": "none"}  # images without the branch that is not trained
_SWAP_STEP = 4  # blocks; finer would be within what the prediction is good for


@dataclass(frozen=True)
class MemoryPlan:
    """A run's largest pass, and the memory of a step of such passes."""

    settings: Finetune
    shape: BatchShape
    memory: Memory
    blocks: int


class Planner:
    """Plans runs that differ in a few settings; what does not differ takes one dry run."""

    def __init__(
        self, shape: BatchShape, make_models: MakeModels, made: tuple[Finetune, DummyModels] | None = None
    ) -> None:
        """`make_models` makes the models of settings; `made` are some that were made before."""
        self._shape, self._make_models = shape, make_models
        self._models = {} if made is None else {_model_key(made[0]): made[1]}
        self._passes: dict[str, tuple[DryRun, Mapping[str, int]]] = {}

    def plan(self, settings: Finetune) -> MemoryPlan:
        shape = self._shape_of(settings)
        models = self.models(settings)
        key = f"{_model_key(settings)} {shape} {settings.memory.gradient_checkpointing}"
        key += f" {settings.memory.vae_gradient_checkpointing}"
        # With several passes a step, gradients lie there already when a pass begins.
        key += f" {settings.optim.gradient_accumulation_steps > 1} {settings.optim.ema > 0}"
        if key not in self._passes:
            self._passes[key] = dry_run(models, shape, settings), validation_bytes(models, shape, settings)
        return MemoryPlan(
            settings, shape, memory_from(models, shape, settings, *self._passes[key]), len(_blocks(models))
        )

    def models(self, settings: Finetune) -> DummyModels:
        """The models of settings."""
        key = _model_key(settings)
        if key not in self._models:
            self._models[key] = self._make_models(settings)
        return self._models[key]

    def remedy(self, settings: Finetune, card: int) -> tuple[Changes, MemoryPlan] | None:
        """The first changes, each on top of those before, with which a run fits; None where all do not suffice."""
        made: dict[str, object] = {}
        memory, other = self.plan(settings).memory, self.models(settings).other
        # It takes no time and changes nothing that is trained.
        alone: list[Changes] = [_ALONE] if other is not None and memory.validation_peak > memory.peak else []
        for saving in [*alone, *_savings(settings)]:
            made |= saving
            plan = self.plan(changed(settings, made))
            if plan.memory.fits(card):
                return made, plan
        # Block swap costs time; what is trained is changed only where time does not help.
        smaller = [{}, _SMALLEST] if settings.train.mode in ("full", "kv_out") else [{}]
        for changes in smaller:
            found = self._with_block_swap(settings, {**made, **changes}, card)
            if found is not None:
                return found
        return None

    def _with_block_swap(self, settings: Finetune, made: Changes, card: int) -> tuple[Changes, MemoryPlan] | None:
        """The fewest swapped blocks, in steps, with which a run fits."""
        blocks = len(_blocks(self.models(changed(settings, made))))
        for count in (0, *range(_SWAP_STEP, blocks, _SWAP_STEP), blocks):
            # Fewer than the settings swap already would save nothing.
            if 0 < count <= settings.memory.blocks_to_swap:
                continue
            changes = {**made, "memory.blocks_to_swap": count} if count else made
            plan = self.plan(changed(settings, changes))
            if plan.memory.fits(card):
                return changes, plan
        return None

    def _shape_of(self, settings: Finetune) -> BatchShape:
        return BatchShape(**{**vars(self._shape), "batch": settings.optim.batch_size})


def _savings(settings: Finetune) -> list[Changes]:
    """What saves memory, the least painful first."""
    optim, memory, precision = settings.optim, settings.memory, settings.base.precision
    trains_much = settings.train.mode in ("full", "kv_out")
    savings = [
        ({"memory.vae_gradient_checkpointing": True}, not memory.vae_gradient_checkpointing),
        ({"memory.gradient_checkpointing": True}, not memory.gradient_checkpointing),
        (
            {
                "optim.batch_size": 1,
                "optim.gradient_accumulation_steps": optim.batch_size * optim.gradient_accumulation_steps,
            },
            optim.batch_size > 1,
        ),
        ({"base.precision": "fp8"}, precision in ("bf16", "fp32")),
        ({"optim.name": "adamw8bit"}, trains_much and optim.name == "adamw"),
        ({"base.precision": "nf4"}, precision != "nf4"),
    ]
    return [changes for changes, helps in savings if helps]


def _model_key(settings: Finetune) -> str:
    """What models are made of."""
    train = settings.train
    validated = f"{settings.validation.resemblance} {is_validated(settings)}"
    return f"{settings.base.precision} {train.mode} {train.rank} {train.targets} {settings.adapter} {validated}"


def _blocks(models: DummyModels) -> list[nn.Module]:
    return blocks_of(models.frozen.transformer)
