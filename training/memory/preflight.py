"""Preflight check of a run: files, plan, memory, two steps, in this order, each printed as soon as it is known."""

from typing import TextIO

from ..configuration.finetune import Finetune
from ..loop.build import device_name
from .checks import free_bytes, run_checks
from .dummy_models import DummyModels, largest_batch_shape, make_dummy_models, parameter_count
from .peak import GIB, Memory, memory
from .plan import Planner
from .report import NEAR, distance, files_text, memory_text, plan_text, remedy_text, trial_text
from .trial import Trial, run_trial

# More than this many parameters and two steps on a CPU take hours.
_MOST_ON_CPU = 10**9


def preflight(settings: Finetune, card_gib: float | None, with_steps: bool, out: TextIO) -> bool:
    """Whether the run can be started: no fault, it fits the card, and steps came out as predicted."""
    found = run_checks(settings)
    _write(out, files_text(found))
    sources, models = found.sources, found.models
    if not found.is_sound or sources is None or models is None:
        _write(out, "Fix what is marked FAULT; the rest was not checked.")
        return False
    shape = largest_batch_shape(settings, sources)
    planner = Planner(shape, lambda changed: make_dummy_models(changed, sources.at(settings).cache), (settings, models))
    plan, card = planner.plan(settings), _card(settings, card_gib)
    _write(out, plan_text(plan, models))
    _write(out, memory_text(plan, card))
    if card is not None and not plan.memory.fits(card):
        _write(out, remedy_text(planner.remedy(settings, card)))
        return False
    if not with_steps:
        return True
    if device_name(settings) == "cpu" and parameter_count(models.frozen.transformer) > _MOST_ON_CPU:
        _write(out, "Two steps\n  not taken: computed, no CUDA device here, and on a CPU they would take hours.")
        return True
    return _compared(settings, models, out)


def _compared(settings: Finetune, models: DummyModels, out: TextIO) -> bool:
    taken: Trial = run_trial(settings)
    predicted: Memory = memory(models, taken.shape, settings)
    _write(out, trial_text(taken, predicted))
    return abs(distance(taken, predicted)) <= NEAR


def _card(settings: Finetune, gib: float | None) -> int | None:
    """Bytes to plan for: of a card that was named, or what is free on this one; None where there is none."""
    if gib is not None:
        return round(gib * GIB)
    return None if device_name(settings) == "cpu" else free_bytes()


def _write(out: TextIO, text: str) -> None:
    out.write(f"{text}\n\n")
    out.flush()
