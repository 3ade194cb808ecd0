"""How a run would use a device: the memory it needs, and what would make it fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..configuration.finetune import Finetune
from .casting import changed
from .hollow import Load
from .memory import Memory, memory_of
from .rehearsal import Cast, Rehearsed, rehearsed

Caster = Callable[[Finetune], Cast]
Changes = Mapping[str, object]
_SMALLEST: Changes = {"train.mode": "lora", "train.rank": 32}
_STREAM_STEP = 4  # blocks; finer would be within what the prediction is good for


@dataclass(frozen=True)
class Plan:
    """A run's largest pass, and the memory of a step of such passes."""

    settings: Finetune
    load: Load
    memory: Memory
    blocks: int


class Planner:
    """Plans runs that differ in a few settings; what does not differ is rehearsed once."""

    def __init__(self, load: Load, caster: Caster, made: tuple[Finetune, Cast] | None = None) -> None:
        """`caster` makes the models of settings; `made` are some that were made before."""
        self._load, self._caster = load, caster
        self._casts = {} if made is None else {_look(made[0]): made[1]}
        self._passes: dict[str, Rehearsed] = {}

    def plan(self, settings: Finetune) -> Plan:
        load = self._load_of(settings)
        cast = self.cast(settings)
        key = f"{_look(settings)} {load} {settings.memory.gradient_checkpointing}"
        key += f" {settings.memory.vae_gradient_checkpointing}"
        key += f" {settings.optim.gradient_accumulation_steps > 1}"
        if key not in self._passes:
            self._passes[key] = rehearsed(cast, load, settings)
        return Plan(settings, load, memory_of(cast, load, settings, self._passes[key]), len(_blocks(cast)))

    def cast(self, settings: Finetune) -> Cast:
        """The models of settings."""
        key = _look(settings)
        if key not in self._casts:
            self._casts[key] = self._caster(settings)
        return self._casts[key]

    def remedy(self, settings: Finetune, card: int) -> tuple[Changes, Plan] | None:
        """The first changes, each on top of those before, with which a run fits; None where all do not suffice."""
        made: dict[str, object] = {}
        for wish in _wishes(settings):
            made |= wish
            plan = self.plan(changed(settings, made))
            if plan.memory.fits(card):
                return made, plan
        # Streaming costs time; what is trained is changed only where time does not help.
        smaller = [{}, _SMALLEST] if settings.train.mode in ("full", "kv_out") else [{}]
        for changes in smaller:
            found = self._streamed(settings, {**made, **changes}, card)
            if found is not None:
                return found
        return None

    def _streamed(self, settings: Finetune, made: Changes, card: int) -> tuple[Changes, Plan] | None:
        """The fewest streamed blocks, in steps, with which a run fits."""
        blocks = len(_blocks(self.cast(changed(settings, made))))
        for count in (0, *range(_STREAM_STEP, blocks, _STREAM_STEP), blocks):
            if 0 < count <= settings.memory.blocks_to_swap:
                continue
            changes = {**made, "memory.blocks_to_swap": count} if count else made
            plan = self.plan(changed(settings, changes))
            if plan.memory.fits(card):
                return changes, plan
        return None

    def _load_of(self, settings: Finetune) -> Load:
        return Load(**{**vars(self._load), "batch": settings.optim.batch_size})


def _wishes(settings: Finetune) -> list[Changes]:
    """What saves memory, the least painful first."""
    optim, memory, precision = settings.optim, settings.memory, settings.base.precision
    trains_much = settings.train.mode in ("full", "kv_out")
    wishes = [
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
    return [changes for changes, helps in wishes if helps]


def _look(settings: Finetune) -> str:
    """What models are made of."""
    train = settings.train
    return f"{settings.base.precision} {train.mode} {train.rank} {train.targets} {settings.adapter}"


def _blocks(cast: Cast) -> list[object]:
    transformer = cast.frozen.transformer
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
