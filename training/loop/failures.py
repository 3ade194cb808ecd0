"""Advice for runs that fail: out of memory, a lost worker process, a loss that is NaN or infinite."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..configuration.finetune import Finetune
from ..distributed.processes import Processes, is_worker_lost
from .checkpoints import checkpoints, folder_of, set_aside, step_of
from .state import TrainingState

_MORE_BLOCKS = 8  # of FLUX.1-dev in fp8: about 1.5 GiB


@contextmanager
def out_of_memory_advice(settings: Finetune) -> Iterator[None]:
    """RuntimeError saying what to lower, where the device has no memory left."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The device ran out of memory. {_what_to_lower(settings)} The run resumes from its last checkpoint when "
            f"it is started again; with another base.precision or train.mode it needs another folder (out=...). "
            f"({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def worker_lost_advice(state: TrainingState, processes: Processes) -> Iterator[None]:
    """RuntimeError saying what is left of the run, where another of its processes has gone."""
    try:
        yield
    except RuntimeError as error:
        if not is_worker_lost(error):
            raise
        kept = checkpoints(state.run)
        raise RuntimeError(
            f"Another process of the run has ended, so this one (process {processes.index} of {processes.count}) ends "
            f"too, after step {state.progress.step}. The launcher's last lines say which it was, and by what: "
            "SIGKILL often means that a machine's memory was full. "
            + (f"The latest whole checkpoint is {kept[-1]}; " if kept else "There is no checkpoint yet; ")
            + f"the same command {'resumes from it' if kept else 'starts again'}. ({str(error).splitlines()[0]})"
        ) from error


def divergence_advice(settings: Finetune, step: int, is_main: bool) -> str:
    """What to do after a run has diverged from `step` on, whose checkpoint the main process sets aside."""
    diverged = folder_of(settings.out, step)
    aside = ""
    if is_main and diverged.is_dir():
        aside = f" The checkpoint of step {step} gives no finite loss either and was set aside as "
        aside += f"{set_aside(diverged).name}."
    kept = [path for path in checkpoints(settings.out) if step_of(path) < step]
    resumes = f"resumes from step {step_of(kept[-1])}" if kept else "starts again"
    return (
        f"Lower optim.lr (it is {settings.at(step).optim.lr:g}), or raise optim.warmup_steps; the same command then "
        f"{resumes}.{aside} Where it happens from the first step, run in a wider type (base.precision=fp32) and "
        "another folder (out=...) to see whether the base model overflows."
    )


def _what_to_lower(settings: Finetune) -> str:
    optim, memory = settings.optim, settings.memory
    # What costs least comes first.
    wishes = {
        "optim.batch_size=1 (with larger optim.gradient_accumulation_steps)": optim.batch_size > 1,
        "memory.gradient_checkpointing=true": not memory.gradient_checkpointing,
        "memory.vae_gradient_checkpointing=true": not memory.vae_gradient_checkpointing,
        "base.precision=fp8": settings.base.precision in ("bf16", "fp32"),
        "train.mode=lora": settings.train.mode in ("full", "kv_out"),
        "optim.name=adamw8bit": optim.name != "adamw8bit" and settings.train.mode != "tokens",
        "base.precision=nf4": settings.base.precision != "nf4",
        f"memory.blocks_to_swap={memory.blocks_to_swap + _MORE_BLOCKS} (slower)": True,
        "smaller images in prepare.py": True,
    }
    tried = ", ".join(wish for wish, helps in wishes.items() if helps)
    return f"Try, in this order: {tried}. `python training/doctor.py` with these settings computes what suffices."
