"""The end of a run: its result, and a report (report.md) of scores, curves and images to judge by eye."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ..configuration.reading import read_tree
from ..evaluation.records import write_text
from .checkpoints import CONFIG, checkpoints, step_of
from .curves import curves_svg, smoothed
from .judgement import Judgement, judge
from .log import STEP_METRICS, VALIDATION_METRICS, read_rows
from .report_blocks import Block, Heading, Paragraph, Picture, Points, Table, markdown
from .result import LORA_RESULT, RESULT, exported, header_of, is_lora, write_identity, write_result
from .resume import describe_change, until
from .step import BIN_NAMES
from .trainer import Trainer
from .validation import PREVIEWS

LOGGER = logging.getLogger("withanyone")
CURVES, REPORT = "curves.svg", "report.md"
_NAMES = {"sim_gt": "Sim(GT)", "sim_ref": "Sim(Ref)", "copy_paste": "copy-paste", "leakage": "leakage"}
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


def finish(trainer: Trainer) -> Path:
    """Writes adapter.safetensors (or lora.safetensors, or NAME.safetensors of a person whose tokens were learned) and
    report.md into the run's folder; the result's path.

    From the checkpoint with the best validation, or the latest where there is no judge.
    """
    state = trainer.state
    verdict, run = state.verdict, state.run
    kept = {step_of(path): path for path in checkpoints(run)}
    if not kept:
        raise RuntimeError(
            f"{run} holds no checkpoint to make a result of: its steps were skipped because their loss was NaN or "
            "infinite. Lower optim.lr, or raise optim.warmup_steps, and start the same command again."
        )
    step = verdict.best_step if verdict.best_step in kept else max(kept)
    if state.adapter.person is not None:
        name = _file_name(state.adapter.person.identity.name)
        result = write_identity(run / f"{name}.safetensors", kept[step])
        write_report(trainer, result, step, verdict.reason)
        return result
    tensors = exported(kept[step], state.settings.adapter.init)
    lora = is_lora(tensors)
    settings = {**read_tree(kept[step] / CONFIG), "out": str(run)}
    changes = until(state.progress.changes, step)
    header = header_of(settings, step, state.origin["data"], state.progress.measured, lora, changes)
    result = write_result(run / (LORA_RESULT if lora else RESULT), tensors, header)
    write_report(trainer, result, step, verdict.reason)
    return result


def write_report(trainer: Trainer, result: Path, step: int, stopped: str) -> Path:
    """Writes curves.svg and report.md into the run's folder.

    step     the checkpoint that the result was made from
    stopped  why the run ended early, or empty
    """
    folder = trainer.state.run
    write_text(folder / CURVES, curves_svg(_panels(folder)))
    path = folder / REPORT
    write_text(path, markdown(report_blocks(trainer, result, step, stopped)))
    return path


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
        Heading(f"{state.run.name}: {judgement.line}", level=1),
        Paragraph(judgement.how),
        Paragraph(after + (f". The run stopped at step {state.progress.step}: {stopped}." if stopped else ".")),
        *_table(first, chosen),
        Points(tuple(_remarks(trainer, judgement, step))),
        Heading("Curves"),
        Picture(CURVES, "losses and likeness by step"),
        *_images(trainer, step),
        Heading("Legend"),
        Points(_LEGEND),
    ]


def _table(first: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[Block]:
    if not first:
        yield Paragraph("Nothing was measured: the cache holds no held-out photos.")
        return
    rows = [
        (title, _number(first.get(name)), _number(chosen.get(name)))
        for name, title in _NAMES.items()
        if first.get(name) or chosen.get(name)
    ]
    losses = [sum(validation["validation"]) / len(validation["validation"]) for validation in (first, chosen)]
    rows.append(("validation", *(f"{loss:.4f}" for loss in losses)))
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
    validations = sorted(path.name for path in (trainer.state.run / PREVIEWS).glob("step-*"))
    at = [name for name in validations if int(name.removeprefix("step-")) <= step]
    if not at:
        return
    chosen = list(dict.fromkeys([at[0], at[-1]]))
    rows = []
    for scene in trainer.validator.scenes:
        references = tuple(
            Picture(f"{PREVIEWS}/truth/{scene.name}_reference_{number}.png", "reference")
            for number in range(1, len(scene.sample.people) + 1)
        )
        photo = Picture(f"{PREVIEWS}/truth/{scene.name}.png", "photo")
        generated = ((Picture(f"{PREVIEWS}/{name}/{scene.name}.png", name),) for name in chosen)
        rows.append(((photo,), references, *generated))
    yield Heading("Previews")
    yield Table(("held-out photo", "reference", *chosen), tuple(rows))


def _panels(folder: Path) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
    steps, validations = read_rows(folder / STEP_METRICS), read_rows(folder / VALIDATION_METRICS)

    def by_step(*names: str) -> dict[str, Sequence[tuple[float, float]]]:
        return {name: smoothed(_series(steps, name)) for name in names}

    def by_validation(*names: str) -> dict[str, Sequence[tuple[float, float]]]:
        return {_NAMES.get(name, name): _series(validations, name) for name in names}

    return {
        "likeness to the held-out photos, by judges": by_validation("sim_gt", "sim_ref", "copy_paste"),
        "flow loss on held-out photos": by_validation("validation"),
        "losses": by_step("flow", "id", "nce"),
        "identity loss by sigma": by_step(*BIN_NAMES),
        "cosines, by the training recognizer": by_step("cos_target", "cos_reference", "cos_negative"),
        "length of the gradient": by_step("grad_norm"),
        "learning rate": by_step("lr"),
    }


def _series(rows: Sequence[Mapping[str, str]], name: str) -> list[tuple[float, float]]:
    points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return [point for point in points if isfinite(point[1])]


def _file_name(person: str) -> str:
    return re.sub(r"[^\w .-]", "_", person).strip(" .") or "person"
