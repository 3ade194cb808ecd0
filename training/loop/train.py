"""The training loop: step, validate, save, until the run is over, stopped early or interrupted."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .failures import out_of_memory_advice, worker_lost_advice
from .log import log_steps
from .trainer import Trainer

LOGGER = logging.getLogger("withanyone")
SAVE, VALIDATE = "save", "validate"  # files in the run's folder that ask for it


@dataclass
class StopRequest:
    """The signal that asked the run to end, or None."""

    signal: int | None = None


def train(trainer: Trainer) -> None:
    """Steps, validations and checkpoints until the run is over; where a run was stopped, it resumes.

    Ctrl-C and SIGTERM end it after the step at hand with a checkpoint, and then do what they do otherwise.

    Raises RuntimeError where memory runs out, the loss stays NaN or infinite or another process has gone, OSError
    where a checkpoint cannot be written.
    """
    state, processes = trainer.state, trainer.processes
    with (
        catch_signals(processes.count == 1) as stop,
        out_of_memory_advice(state.settings),
        worker_lost_advice(state, processes),
    ):
        if not state.progress.measured:
            trainer.validate()  # the adapter as it came: what later validations are compared with
        _loop(trainer, stop)
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
    if state.progress.skipped_in_row:
        LOGGER.warning(
            "The last %d steps were skipped: the result is that of an earlier one. If it is no good, lower optim.lr.",
            state.progress.skipped_in_row,
        )
    if state.verdict.stop:
        LOGGER.warning("Stopped at step %d: %s.", state.progress.step, state.verdict.reason)


def _loop(trainer: Trainer, stop: StopRequest) -> None:
    state, settings = trainer.state, trainer.state.settings
    is_ending = stop.signal is not None
    with log_steps(state, trainer.processes.is_main) as log_step:
        while not state.is_over and not is_ending:
            trainer.step()
            log_step()
            step = state.progress.step
            # The main process reads the files for all: the others might miss one that it has just removed.
            requests = trainer.processes.from_main(lambda: take_requests(state.run))
            # The last step is always validated: the result is chosen among steps with scores.
            is_last = step == settings.optim.steps
            validates = step % settings.validation.every_steps == 0 or is_last or VALIDATE in requests
            is_ending = stop.signal is not None
            # What is validated is saved, so that it can become the result.
            saves = validates or step % settings.save.every_steps == 0 or SAVE in requests or is_ending
            if saves and state.progress.skipped_in_row:
                LOGGER.warning("Nothing is validated or saved at step %d, which was skipped.", step)
                continue
            if validates:
                trainer.validate()
            if saves:
                trainer.save()


@contextmanager
def catch_signals(is_alone: bool) -> Iterator[StopRequest]:
    """Inside, the first Ctrl-C or SIGTERM only asks to stop, and the second does what it would have done before.

    is_alone  whether this is the run's only process: of several, one that has died must not be waited for, so there
              signals stop at once
    """
    stop = StopRequest()
    if not is_alone or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # One that is ignored stays so: a shell script's `&` keeps Ctrl-C from what it starts.
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _: FrameType | None) -> None:
        stop.signal = number
        restore()
        LOGGER.warning("Stopping after this step, with a checkpoint. Asked once more, it stops at once.")

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


def take_requests(run: Path) -> list[str]:
    """The files in the run's folder that ask for something (`touch save`, `touch validate`); they are removed."""
    found = [name for name in (SAVE, VALIDATE) if (run / name).is_file()]
    for name in found:
        (run / name).unlink()
        LOGGER.info("Requested by the file %s.", name)
    return found
