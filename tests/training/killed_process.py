"""`accelerate launch ... killed_process.py CONFIG FOLDER STEP`: finetune.py on small models in memory.

The last process kills itself after so many steps; with -1 nobody does.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import load_pack

load_pack()

from withanyone_pack.tests.training.small_session import small_session

from training import finetune
from training.loop import opening

RUN = (
    "optim.steps=40",
    "optim.batch_size=2",
    "validation.every_steps=2",
    "save.every_steps=2",
    "validation.num_images=1",
)


def open_session(settings):
    session = small_session(settings.out, *RUN)
    whole = session.step

    def step():
        if session.progress.step == int(sys.argv[3]) and session.processes.index == session.processes.count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        whole()

    session.step = step
    return session


if __name__ == "__main__":
    opening.open_session = open_session
    raise SystemExit(finetune.main([sys.argv[1], f"out={sys.argv[2]}"]))
