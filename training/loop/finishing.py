"""The end of a run: the best checkpoint becomes the result, and the report says what it is worth."""

import re
from pathlib import Path

from ..configuration.reading import read_tree
from .changed_settings import until
from .checkpoints import CONFIG, checkpoints, step_of
from .outcome import exported, header_of, is_lora, write_identity, write_result
from .report import write_report
from .session import Session

RESULT, LORA_RESULT = "adapter.safetensors", "lora.safetensors"


def finish(session: Session) -> Path:
    """Writes adapter.safetensors (or lora.safetensors, or NAME.safetensors of a person whose tokens were learned) and
    report.md into the run's folder; the result's path.

    From the checkpoint that the judges found best, or the latest where nobody judged.
    """
    verdict = session.verdict
    kept = {step_of(path): path for path in checkpoints(session.run)}
    if not kept:
        raise RuntimeError(
            f"{session.run} holds no checkpoint to make a result of: its steps were skipped because their loss was no "
            "number. Lower optim.lr, or raise optim.warmup_steps, and start the same command again."
        )
    step = verdict.best_step if verdict.best_step in kept else max(kept)
    if session.trained.person is not None:
        name = _file_name(session.trained.person.identity.name)
        result = write_identity(session.run / f"{name}.safetensors", kept[step])
        write_report(session, result, step, verdict.reason)
        return result
    tensors = exported(kept[step], session.settings.adapter.init)
    lora = is_lora(tensors)
    progress = session.progress
    settings = {**read_tree(kept[step] / CONFIG), "out": str(session.run)}
    changes = until(progress.changes, step)
    header = header_of(settings, step, session.origin["data"], progress.measured, lora, changes)
    result = write_result(session.run / (LORA_RESULT if lora else RESULT), tensors, header)
    write_report(session, result, step, verdict.reason)
    return result


def _file_name(person: str) -> str:
    return re.sub(r"[^\w .-]", "_", person).strip(" .") or "person"
