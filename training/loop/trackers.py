"""Weights & Biases as an option, by accelerate's tracker for it."""

import importlib.util
import uuid

from accelerate import Accelerator

from ..configuration.finetune import Finetune
from ..evaluation.records import write_text
from .result import without_paths

_ID = "wandb_id.txt"  # of the run over there, so that a resumed run continues its curves


def make_accelerator(settings: Finetune, is_on_cpu: bool) -> Accelerator:
    """With the tracker that the settings name. Raises RuntimeError where its package is not installed."""
    if not settings.log.wandb:
        return Accelerator(cpu=is_on_cpu)
    if importlib.util.find_spec("wandb") is None:
        raise RuntimeError(
            f"log.wandb is {settings.log.wandb}, and wandb is not installed: run `python -m pip install wandb` and "
            "`wandb login`, or leave log.wandb empty. TensorBoard has the same curves."
        )
    return Accelerator(cpu=is_on_cpu, log_with="wandb")


def start_trackers(accelerator: Accelerator, settings: Finetune) -> None:
    """Starts what `make_accelerator` has chosen; the settings are sent without this machine's paths."""
    if not settings.log.wandb:
        return
    place = settings.out / _ID
    if accelerator.is_main_process and not place.is_file():
        write_text(place, uuid.uuid4().hex)
    # The others read what the main process has just written.
    accelerator.wait_for_everyone()
    run = {
        "name": settings.out.name,
        "id": place.read_text(encoding="utf-8-sig").strip(),
        "resume": "allow",
        "dir": str(settings.out),
    }
    recipe = without_paths(settings.model_dump(mode="json"))
    accelerator.init_trackers(settings.log.wandb, config=recipe, init_kwargs={"wandb": run})
