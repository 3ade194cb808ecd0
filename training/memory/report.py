"""What doctor.py prints."""

from collections.abc import Iterator

from ..configuration.finetune import Finetune
from .checks import CheckResults
from .dry_run import DummyModels
from .peak import CONTEXT, GIB, SLACK, Memory, Part
from .plan import Changes, MemoryPlan
from .trial import Trial
from .weight_bytes import block_bytes

NEAR = 0.10  # how far a prediction may be from what a device measures


def files_text(results: CheckResults) -> str:
    """One line a finding."""
    lines = [
        f"  {'FAULT' if finding.fault else 'ok':5}  {finding.what:18} {finding.found}" for finding in results.findings
    ]
    return "\n".join(["Files and device", *lines])


def plan_text(plan: MemoryPlan, models: DummyModels) -> str:
    """What is quantized, swapped and computed twice, and why."""
    lines = [f"  {what:14} {words}" for what, words in _decisions(plan, models)]
    return "\n".join(["Plan", *lines])


def memory_text(plan: MemoryPlan, card: int | None) -> str:
    """Predicted peak by component, and whether it fits a card of so many bytes."""
    shape, memory = plan.shape, plan.memory
    sample = (
        f"{shape.width_px} x {shape.height_px} px, {shape.people} people on {100 * shape.covered / shape.tokens:.0f} %"
    )
    lines = [f"Predicted peak, {shape.batch} sample{'s' if shape.batch > 1 else ''} a pass: {sample} of the image"]
    lines += [_row(part) for part in memory.held]
    lines += [_row(Part(f"at the peak: {part.name}", part.size)) for part in sorted(memory.passing, key=_size)]
    lines += [_row(Part("peak of tensors", memory.peak))]
    lines += [_row(Part(f"in a validation instead: {part.name}", part.size)) for part in memory.validating]
    if memory.validating:
        lines += [_row(Part("peak of tensors in a validation", memory.validation_peak))]
    lines += [f"  {_needed(memory, card)}"]
    if memory.host:
        lines.append(f"  In the CPU's memory: {memory.host / GIB:.2f} GiB of swapped blocks, pinned.")
    return "\n".join(lines)


def remedy_text(found: tuple[Changes, MemoryPlan] | None) -> str:
    """What to set where a plan does not fit."""
    if found is None:
        return "  Nothing that can be set makes it fit. Prepare smaller images (sizes in prepare.yaml)."
    changes, plan = found
    settings = " ".join(f"{key}={str(value).lower()}" for key, value in changes.items())
    return f"  It fits with: {settings} ({plan.memory.needed / GIB:.1f} GiB)."


def trial_text(trial: Trial, predicted: Memory) -> str:
    """Predicted against measured."""
    seconds = ", ".join(f"{each:.2f}" for each in trial.seconds)
    losses = ", ".join(f"{loss:.4f}" for loss in trial.losses)
    off = distance(trial, predicted)
    verdict = "as predicted within 10 %" if abs(off) <= NEAR else "more than 10 % off: please report it with this text"
    if trial.by == "device":
        peak = f"  measured on the device {trial.measured / GIB:.3f} GiB"
    else:
        peak = f"  computed, no CUDA device here; tensors counted while the steps ran {trial.measured / GIB:.3f} GiB"
    return "\n".join(
        [
            "Two steps",
            f"  seconds {seconds}; loss {losses}",
            f"{peak}, predicted for these samples {predicted.peak / GIB:.3f} GiB ({100 * off:+.1f} %): {verdict}",
        ]
    )


def distance(trial: Trial, predicted: Memory) -> float:
    """How far the prediction is from what was measured, as a fraction of that."""
    return predicted.peak / trial.measured - 1


def _decisions(plan: MemoryPlan, models: DummyModels) -> Iterator[tuple[str, str]]:
    settings, memory = plan.settings, plan.settings.memory
    yield "base model", _quantization(settings, models)
    if memory.blocks_to_swap:
        yield (
            "block swap",
            f"{memory.blocks_to_swap} of {plan.blocks} blocks come from the CPU's memory when they are needed, two at "
            f"a time ({plan.memory.host / GIB:.2f} GiB stay there)",
        )
    yield (
        "blocks",
        "computed twice: only what enters each is kept until the backward pass"
        if memory.gradient_checkpointing
        else "computed once: all that is inside them is kept until the backward pass",
    )
    yield (
        "VAE decoder",
        "computed twice, block by block" if memory.vae_gradient_checkpointing else "computed once, all of it kept",
    )
    count = sum(parameter.numel() for parameter in models.adapter.trained)
    yield "trained", f"{settings.train.mode}, {count:,} numbers in float32, {settings.optim.name}"
    optim = settings.optim
    yield (
        "a step",
        f"{optim.gradient_accumulation_steps} passes of {optim.batch_size}, "
        "every sample decoded and judged at the peak",
    )


def _quantization(settings: Finetune, models: DummyModels) -> str:
    """What the matrices are held in, against what they would take in bf16."""
    precision, transformer = settings.base.precision, models.frozen.transformer
    if precision in ("bf16", "fp32"):
        return f"{precision}, as it is computed"
    now, plain = (sum(block_bytes(transformer, each)) for each in (precision, "bf16"))
    return (
        f"{precision}: the blocks take {now / GIB:.2f} GiB and not {plain / GIB:.2f}; each matrix is dequantized "
        "to bf16 while it is used"
    )


def _needed(memory: Memory, card: int | None) -> str:
    words = (
        f"A card needs {memory.needed / GIB:.1f} GiB: {100 * SLACK:.0f} % more for the allocator, and "
        f"{CONTEXT / GIB:.0f} GiB for CUDA itself."
    )
    if card is None:
        return f"{words} No card to compare with: name one (--card 24)."
    return f"{words} {'It fits' if memory.fits(card) else 'It does not fit'} {card / GIB:.1f} GiB."


def _row(part: Part) -> str:
    return f"  {part.name:44} {part.size / GIB:8.3f} GiB"


def _size(part: Part) -> int:
    return -part.size
