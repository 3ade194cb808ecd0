"""The training loop."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from ..configuration.finetune import Finetune
from .session import Session

LOGGER = logging.getLogger("withanyone")


def train(session: Session) -> None:
    """Steps, looks and checkpoints until the run is over; where a run was stopped, it goes on.

    Raises RuntimeError where memory runs out or the loss stays no number, OSError where a checkpoint cannot be written.
    """
    settings, progress = session.settings, session.progress
    last, look, save = settings.optim.steps, settings.eval.every, settings.save.every
    if not progress.looks:
        with memory_in_words(settings):
            session.look()  # the adapter as it came: what all later looks are compared with
    with tqdm(total=last, initial=progress.step, unit="step", disable=None) as bar, memory_in_words(settings):
        while not session.is_over:
            session.step()
            bar.update()
            bar.set_postfix(_shown(session), refresh=False)
            is_last = progress.step == last
            if progress.step % look == 0 or is_last:
                session.look()
            if progress.step % save == 0 or progress.step % look == 0 or is_last:
                session.save()
    if session.verdict.stop:
        LOGGER.warning("Stopped at step %d: %s.", progress.step, session.verdict.reason)


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
            f"started again. ({str(error).splitlines()[0]})"
        ) from error


def _advice(settings: Finetune) -> str:
    wishes = {
        "optim.batch=1 (with a larger optim.accum)": settings.optim.batch > 1,
        "memory.checkpoint_blocks=true": not settings.memory.checkpoint_blocks,
        "memory.checkpoint_vae=true": not settings.memory.checkpoint_vae,
        "base.precision=fp8": settings.base.precision != "fp8",
        "train.mode=lora": settings.train.mode != "lora",
        "optim.name=adamw8bit": settings.optim.name != "adamw8bit",
        "smaller pictures in prepare.py": True,
    }
    return f"Try, in this order: {', '.join(wish for wish, helps in wishes.items() if helps)}."
