"""The end of a run: its result, and a report (report.md, report.html) of scores, curves and images to judge by eye."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from withanyone_core.html_page import document

from ..configuration.reading import read_tree
from ..evaluation.records import write_text
from ..loop.checkpoints import CONFIG, checkpoints, step_of
from ..loop.log import STEP_METRICS, VALIDATION_METRICS, read_rows
from ..loop.resume import until
from ..loop.step import BIN_NAMES
from ..loop.trainer import Trainer
from ..loop.validation import PREVIEWS
from .blocks import html, markdown
from .content import CURVES, FILMSTRIP, NAMES, report_blocks
from .curves import curves_svg, smoothed
from .filmstrip import filmstrip
from .result import LORA_RESULT, RESULT, base_of_checkpoint, exported, header_of, is_lora, write_identity, write_result

REPORT, PAGE = "report.md", "report.html"
_PAGE_CSS = "figure{margin:0;overflow-x:auto}svg{max-width:100%}"


def finish(trainer: Trainer) -> Path:
    """Writes adapter.safetensors (or lora.safetensors, or NAME.safetensors of a person whose tokens were learned) and
    its report into the run's folder; the result's path.

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
    base = base_of_checkpoint(kept[step])
    header = header_of(settings, step, state.origin["data"], state.progress.measured, lora, changes, base)
    result = write_result(run / (LORA_RESULT if lora else RESULT), tensors, header)
    write_report(trainer, result, step, verdict.reason)
    return result


def write_report(trainer: Trainer, result: Path, step: int, stopped: str) -> None:
    """Writes report.md and report.html, which say the same, and their curves and filmstrip into the run's folder.

    step     the checkpoint that the result was made from
    stopped  why the run ended early, or empty
    """
    folder = trainer.state.run
    write_text(folder / CURVES, curves_svg(_panels(folder)))
    _write_filmstrip(trainer)
    blocks = report_blocks(trainer, result, step, stopped)
    write_text(folder / REPORT, markdown(blocks))
    write_text(folder / PAGE, document(folder.name, html(blocks, folder), _PAGE_CSS))


def _write_filmstrip(trainer: Trainer) -> None:
    """Held-out photo, references and the image of each validation that is kept; nothing where there is none."""
    previews = trainer.state.run / PREVIEWS
    folders = [previews / f"step-{validation['step']:06d}" for validation in trainer.state.progress.measured]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        return
    rows = []
    for scene in trainer.validator.shown:
        people = range(1, len(scene.sample.people) + 1)
        references = [previews / "truth" / f"{scene.name}_reference_{number}.png" for number in people]
        photo = previews / "truth" / f"{scene.name}.png"
        rows.append([[photo], references, *([folder / f"{scene.name}.png"] for folder in folders)])
    columns = ("held-out photo", "reference", *(f"step {int(folder.name.removeprefix('step-'))}" for folder in folders))
    filmstrip(columns, rows).save(trainer.state.run / FILMSTRIP, quality=85)


def _panels(folder: Path) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
    steps, validations = read_rows(folder / STEP_METRICS), read_rows(folder / VALIDATION_METRICS)

    def by_step(*names: str) -> dict[str, Sequence[tuple[float, float]]]:
        return {name: smoothed(_series(steps, name)) for name in names}

    def by_validation(*names: str) -> dict[str, Sequence[tuple[float, float]]]:
        return {NAMES.get(name, name): _series(validations, name) for name in names}

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
