"""The training loop."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from ..configuration.finetune import Finetune
from .checkpoints import checkpoints
from .processes import is_loss
from .requests import SAVE, VALIDATE, Stop, asked, stops
from .session import Session

LOGGER = logging.getLogger("withanyone")
_LINES, _MOST_STEPS_A_LINE = 100, 50  # of a log
_MORE_BLOCKS = 8  # of FLUX.1-dev in fp8: about 1.5 GiB


def train(session: Session) -> None:
    """Steps, looks and checkpoints until the run is over; where a run was stopped, it goes on.

    Ctrl-C and SIGTERM end it after the step at hand with a checkpoint, and then do what they do otherwise.

    Raises RuntimeError where memory runs out, the loss stays no number or another process has gone, OSError where a
    checkpoint cannot be written.
    """
    settings, progress = session.settings, session.progress
    with stops(session.processes.count == 1) as stop, memory_in_words(settings), loss_in_words(session):
        if not progress.looks:
            session.look()  # the adapter as it came: what all later looks are compared with
        _steps(session, stop)
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
    if progress.skipped_in_row:
        LOGGER.warning(
            "The last %d steps were skipped: the result is that of an earlier one. If it is no good, lower optim.lr.",
            progress.skipped_in_row,
        )
    if session.verdict.stop:
        LOGGER.warning("Stopped at step %d: %s.", progress.step, session.verdict.reason)


def _steps(session: Session, stop: Stop) -> None:
    settings, progress = session.settings, session.progress
    last, look, save = settings.optim.steps, settings.validation.every_steps, settings.save.every_steps
    on_terminal = sys.stderr.isatty()
    silent = not (session.processes.is_main and on_terminal)
    with tqdm(total=last, initial=progress.step, unit="step", disable=silent) as bar:
        is_ending = stop.signal is not None
        while not session.is_over and not is_ending:
            session.step()
            bar.update()
            bar.set_postfix(_shown(session), refresh=False)
            if not on_terminal:
                _log_step(session)
            wishes = session.processes.from_main(lambda: asked(session.run))
            looks = progress.step % look == 0 or progress.step == last or VALIDATE in wishes
            is_ending = stop.signal is not None
            saves = looks or progress.step % save == 0 or SAVE in wishes or is_ending
            if saves and progress.skipped_in_row:
                LOGGER.warning("Nothing is validated or saved at step %d, which was skipped.", progress.step)
                continue
            if looks:
                session.look()
            if saves:
                session.save()


def _log_step(session: Session) -> None:
    """A line a hundredth of the run, but at least every 50 steps: for logs, where a bar would be one endless line."""
    step, last = session.progress.step, session.settings.optim.steps
    if step % min(_MOST_STEPS_A_LINE, max(1, last // _LINES)) == 0 or step == last:
        numbers = ", ".join(f"{name} {value}" for name, value in _shown(session).items())
        LOGGER.info("Step %d of %d: %s.", step, last, numbers)


def _shown(session: Session) -> dict[str, str]:
    row = session.progress.row
    numbers = {"loss": row.get("loss"), "id": row.get("id"), "s/step": row.get("s_per_step")}
    return {name: f"{value:.3f}" for name, value in numbers.items() if value is not None}


@contextmanager
def memory_in_words(settings: Finetune) -> Iterator[None]:
    """RuntimeError saying what to lower, where the device has no memory left."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The device ran out of memory. {_advice(settings)} The run goes on from its last checkpoint when it is "
            f"started again; with another base.precision or train.mode it needs another folder (out=...). "
            f"({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def loss_in_words(session: Session) -> Iterator[None]:
    """RuntimeError saying what is left of the run, where another of its processes has gone."""
    try:
        yield
    except RuntimeError as error:
        if not is_loss(error):
            raise
        processes, kept = session.processes, checkpoints(session.run)
        raise RuntimeError(
            f"Another process of the run has ended, so this one (process {processes.index} of {processes.count}) ends "
            f"too, after step {session.progress.step}. The launcher's last lines say which it was, and by what: "
            "SIGKILL often means that a machine's memory was full. "
            + (f"The latest whole checkpoint is {kept[-1]}; " if kept else "There is no checkpoint yet; ")
            + f"the same command {'goes on from it' if kept else 'starts anew'}. ({str(error).splitlines()[0]})"
        ) from error


def _advice(settings: Finetune) -> str:
    wishes = {
        "optim.batch_size=1 (with a larger optim.gradient_accumulation_steps)": settings.optim.batch_size > 1,
        "memory.gradient_checkpointing=true": not settings.memory.gradient_checkpointing,
        "memory.vae_gradient_checkpointing=true": not settings.memory.vae_gradient_checkpointing,
        "base.precision=fp8": settings.base.precision in ("bf16", "fp32"),
        "train.mode=lora": settings.train.mode in ("full", "kv_out"),
        "optim.name=adamw8bit": settings.optim.name != "adamw8bit" and settings.train.mode != "tokens",
        "base.precision=nf4": settings.base.precision != "nf4",
        f"memory.blocks_to_swap={settings.memory.blocks_to_swap + _MORE_BLOCKS} (slower)": True,
        "smaller images in prepare.py": True,
    }
    tried = ", ".join(wish for wish, helps in wishes.items() if helps)
    return f"Try, in this order: {tried}. `python training/doctor.py` with these settings computes what suffices."
