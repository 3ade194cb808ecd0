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

from withanyone_pack.tests.training.small_trainer import small_trainer

from training import finetune
from training.loop import build

RUN = (
    "optim.steps=40",
    "optim.batch_size=2",
    "validation.every_steps=2",
    "save.every_steps=2",
    "validation.num_images=1",
)


def build_trainer(settings):
    trainer = small_trainer(settings.out, *RUN)
    whole = trainer.step

    def step():
        if trainer.state.progress.step == int(sys.argv[3]) and trainer.processes.index == trainer.processes.count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        whole()

    trainer.step = step
    return trainer


if __name__ == "__main__":
    build.build_trainer = build_trainer
    raise SystemExit(finetune.main([sys.argv[1], f"out={sys.argv[2]}"]))
