"""What a user asks of a run while it goes on: signals that end it, and files in its folder that ask for something."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

LOGGER = logging.getLogger("withanyone")
SAVE, VALIDATE = "save", "validate"


@dataclass
class Stop:
    """The signal that asked the run to end, or None."""

    signal: int | None = None


@contextmanager
def stops(is_alone: bool) -> Iterator[Stop]:
    """Inside, the first Ctrl-C or SIGTERM only asks to stop, and the second does what it would have done before.

    is_alone  whether this is the run's only process: of several, one that has died must not be waited for, so there
              signals stop at once
    """
    stop = Stop()
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


def asked(run: Path) -> list[str]:
    """What files in the run's folder (`touch save`, `touch validate`) ask for; they are removed."""
    found = [name for name in (SAVE, VALIDATE) if (run / name).is_file()]
    for name in found:
        (run / name).unlink()
        LOGGER.info("Asked for by the file %s.", name)
    return found
