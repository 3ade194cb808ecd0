"""`python one_of_many.py FOLDER PROCESSES CASE ...`: one process of runs of small models; which one is in RANK.

Runs the cases one after the other, each in its folder; batches are spread over the processes. In the case `sharded`
the base model is too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import load_pack

load_pack()

from dataclasses import replace

from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_trainer import CPU, small_base, small_frozen, small_trainer

from training.distributed.sharding import shard
from training.loop.train import train

STEPS, BATCH = 4, 4
RUN = (
    f"optim.steps={STEPS}",
    "optim.gradient_accumulation_steps=2",
    # AdamW makes a whole step of a gradient that is nothing but rounding; so small a rate keeps that under 1e-5.
    "optim.lr=2e-4",
    "optim.ema=0.9",
    "data.id_dropout=0.3",
    "id_loss.max_sigma=0.7",
    "validation.every_steps=2",
    "validation.num_images=2",
    "save.every_steps=2",
)


def run(folder, case, processes):
    frozen = small_frozen()
    if case == "sharded":
        base = small_base()
        base.enable_gradient_checkpointing()
        shard(base, processes, CPU)
        frozen = replace(frozen, transformer=base)
    photos = small_cache(photos=4, people=3, pairs=4)
    changes = [*RUN, f"optim.batch_size={BATCH // processes}", f"memory.gradient_checkpointing={case == 'sharded'}"]
    trainer = small_trainer(folder / case, *changes, photos=photos, frozen=frozen)
    try:
        train(trainer)
    finally:
        trainer.close()


if __name__ == "__main__":
    for name in sys.argv[3:]:
        run(Path(sys.argv[1]), name, int(sys.argv[2]))
