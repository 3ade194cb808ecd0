"""What the report of a run says: its judgement first, then numbers, advice, images and what the words mean."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from .judgement import Judgement, judge
from .report_blocks import Block, Heading, ImageFile, Paragraph, Points, Table
from .report_prompts import prompt_blocks
from .result import LORA_RESULT
from .resume import describe_change, until
from .trainer import Trainer
from .validation import PREVIEWS, mean_loss

LOGGER = logging.getLogger("withanyone")
CURVES, FILMSTRIP = "curves.svg", "filmstrip.jpg"
NAMES = {"sim_gt": "Sim(GT)", "sim_ref": "Sim(Ref)", "copy_paste": "copy-paste", "leakage": "leakage"}
_ADVICE = {
    "same": "Training did not help: neither likeness nor copying has changed by more than chance does.",
    "worse": "Training did harm: likeness has fallen.",
    "copies": "Training has taught copying: more of the reference photo is repeated than likeness has gained.",
}
_LEGEND = (
    "Sim(GT), Sim(Ref): cosine of a generated face with the held-out photo and with the reference photo.",
    "copy-paste: +1 repeats the reference photo, -1 is the held-out photo, 0 is as far from one as from the other.",
    "leakage: how much each person looks like the others' references.",
    "validation: flow loss on held-out photos with the same noise every time.",
    "cosines and identity loss of the curves are the training recognizer's, which training optimizes; the table is the "
    "judges'.",
)


def report_blocks(trainer: Trainer, result: Path, step: int, stopped: str) -> list[Block]:
    """What the report says, the judgement first."""
    state = trainer.state
    measured = state.progress.measured
    first = measured[0] if measured else {}
    chosen = next((validation for validation in reversed(measured) if validation["step"] <= step), first)
    judgement = judge(first, chosen, state.settings)
    LOGGER.info("The result is %s.", judgement.line)
    person = state.adapter.person
    what = "the adapter" if person is None else f"{person.identity.name} as an identity"
    after = f"{result.name} is {what} after {step} of {state.settings.optim.steps} steps"
    return [
        Heading(f"{state.run.name}: {judgement.line}", depth=1),
        Paragraph(judgement.how),
        Paragraph(after + (f". The run stopped at step {state.progress.step}: {stopped}." if stopped else ".")),
        *_table(first, chosen),
        Points(tuple(_remarks(trainer, judgement, step))),
        Heading("Where the file belongs"),
        Paragraph(_place(result, person is not None)),
        *_scale(chosen),
        Heading("Curves"),
        ImageFile(CURVES, "losses and likeness by step"),
        *_images(trainer, step),
        *prompt_blocks(
            trainer.validator.prompts, first_and_chosen(state.run / PREVIEWS, step), PREVIEWS, (first, chosen)
        ),
        *([Heading("All validations"), ImageFile(FILMSTRIP, "filmstrip")] if (state.run / FILMSTRIP).is_file() else []),
        Heading("Legend"),
        Points(_LEGEND),
    ]


def _table(first: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[Block]:
    if not first:
        yield Paragraph("Nothing was measured: the cache holds no held-out photos.")
        return
    rows = [
        (title, _number(first.get(name)), _number(chosen.get(name)))
        for name, title in NAMES.items()
        if first.get(name) or chosen.get(name)
    ]
    losses = mean_loss(first), mean_loss(chosen)
    if losses[0] is None and losses[1] is None and not rows:
        yield Paragraph("Nothing was measured on held-out photos.")
        return
    before, after = ("-" if loss is None else f"{loss:.4f}" for loss in losses)
    rows.append(("validation", before, after))
    yield Table(("", f"step {first['step']}", f"step {chosen['step']}"), tuple(rows))
    yield Paragraph("Means over the held-out photos with 95 % bootstrap intervals in brackets.")


def _number(value: Mapping[str, Any] | None) -> str:
    if not value:
        return "-"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value['mean']:.3f}{interval}"


def _remarks(trainer: Trainer, judgement: Judgement, step: int) -> Iterator[str]:
    state = trainer.state
    if judgement.word in ("same", "worse", "copies"):
        instead = "the adapter as it came" if state.adapter.person is None else "an identity made from photos"
        yield f"{_ADVICE[judgement.word]} Use {instead}."
    later = [validation["step"] for validation in state.progress.measured if validation["step"] > step]
    if state.verdict.best_step == step and later:
        yield (
            f"Step {step} is the best checkpoint: the paired intervals do not say that a later one is better. "
            "export.py makes a result of any other that is kept."
        )
    if state.progress.skipped:
        yield f"{state.progress.skipped} steps were skipped because their loss was NaN or infinite."
    for change in until(state.progress.changes, step):
        yield f"After step {change['step']} the run was resumed with {describe_change(change)}."


def _images(trainer: Trainer, step: int) -> Iterator[Block]:
    chosen = first_and_chosen(trainer.state.run / PREVIEWS, step)
    if not chosen or not trainer.validator.scenes:
        return
    rows = []
    for scene in trainer.validator.scenes:
        references = tuple(
            ImageFile(f"{PREVIEWS}/truth/{scene.name}_reference_{number}.png", "reference")
            for number in range(1, len(scene.sample.people) + 1)
        )
        photo = ImageFile(f"{PREVIEWS}/truth/{scene.name}.png", "photo")
        generated = ((ImageFile(f"{PREVIEWS}/{name}/{scene.name}.png", name),) for name in chosen)
        rows.append(((photo,), references, *generated))
    yield Heading("Previews")
    if trainer.validator.both is not None:
        resemblance = trainer.state.settings.validation.resemblance
        yield Paragraph(f"With both branches of the adapter, at resemblance {resemblance:g}.")
    yield Table(("held-out photo", "reference", *chosen), tuple(rows))


def first_and_chosen(previews: Path, step: int) -> list[str]:
    """The folders of the first validation and of the latest up to a step, as far as there are some."""
    validations = sorted(path.name for path in previews.glob("step-*"))
    at = [name for name in validations if int(name.removeprefix("step-")) <= step]
    return list(dict.fromkeys([at[0], at[-1]])) if at else []


def _place(result: Path, is_identity: bool) -> str:
    if is_identity:
        return f"Put {result.name} into ComfyUI/input/identities and choose it in Load Identity."
    if result.name == LORA_RESULT:
        return (
            f"Put {result.name} into ComfyUI/models/withanyone_loras and choose it in Add Adapter LoRA, behind Load "
            "WithAnyone Adapter with the adapter that it was trained on."
        )
    return f"Put {result.name} into ComfyUI/models/withanyone and choose it in Load WithAnyone Adapter."


def _scale(chosen: Mapping[str, Any]) -> Iterator[Block]:
    """What a cosine of 1 is to be compared with; nothing where nothing was scored."""
    if not chosen.get("sim_gt"):
        return
    known = [image["photos"] for image in chosen.get("images", {}).values() if image["photos"] is not None]
    yield Heading("What the scale means")
    yield Paragraph(
        "Nobody reaches 1: two photos of one real person differ too. The four pairs that the paper shows (WithAnyone, "
        "figure 2) have ArcFace cosines from 0.30 to 0.77, and their median is 0.46. Another recognizer has another "
        "scale."
        + (
            f" By the judges of this run the held-out photos and the references have a cosine of {fmean(known):.3f} "
            f"(mean of {len(known)} images): a Sim(GT) of that is as like as another photo of the person."
            if known
            else ""
        )
    )
