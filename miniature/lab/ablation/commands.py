"""The pack's own training commands, run as a user types them, and what tells one run's settings from another's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.loop.checkpoints import checkpoints
from training.report.result import RESULT

from ...weights_folder import FACES, FLUX, VAE
from ..folders import ROOT, TRAINING_RECIPES

RECOGNIZER = "recognizer.onnx"
# Where files lie, and what changes a run's time and memory only.
_OF_THE_MACHINE = {
    "out": True,
    "base": {"path", "vae"},
    "adapter": {"init"},
    "data": {"cache"},
    "id_loss": {"recognizer"},
    "memory": True,
    "validation": True,
    "early_stopping": True,
    "save": True,
    "device": True,
    "resume": True,
}


def model_changes(weights: Path, cache: Path) -> tuple[str, ...]:
    """The settings that name the small world's models, in a folder of weights, and a cache."""
    return (
        f"base.path={weights / FLUX}",
        f"base.vae={weights / VAE}",
        f"id_loss.recognizer={weights / FACES / RECOGNIZER}",
        f"data.cache={cache}",
    )


def settings_of(recipe: Path, changes: Sequence[str], out: Path) -> dict[str, Any]:
    """A run's settings without what only this machine knows. Raises a readable ValueError for wrong ones."""
    settings = read_settings(Finetune, recipe, [*changes, f"out={out}"])
    return settings.model_dump(mode="json", exclude=_OF_THE_MACHINE)


def trained(recipe: Path, changes: Sequence[str], out: Path) -> Path:
    """The adapter that `finetune.py` makes, which resumes where it was stopped; its checkpoints are removed."""
    result = out / RESULT
    if not result.is_file():
        _run("finetune.py", recipe, [*changes, f"out={out}"])
    if not result.is_file():
        raise RuntimeError(f"{out} holds no {RESULT}. Does {recipe.name} train a LoRA? Set train.mode=full.")
    for folder in checkpoints(out):
        shutil.rmtree(folder)
    return result


def prepared(photos: Path, cache: Path, changes: Sequence[str] = ()) -> Path:
    """The cache that `prepare.py` makes of a folder of photos by the small world's recipe."""
    _run("prepare.py", TRAINING_RECIPES / "prepare_miniature.yaml", [f"data={photos}", f"cache={cache}", *changes])
    return cache


def digest(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """SHA-256 of anything that JSON can hold."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _run(script: str, recipe: Path, changes: Sequence[str]) -> None:
    """Raises RuntimeError where the command failed; it has said why."""
    status = subprocess.run([sys.executable, str(ROOT / "training" / script), str(recipe), *changes], check=False)
    if status.returncode:
        raise RuntimeError(f"training/{script} ended with status {status.returncode}; its own words stand above.")
