"""The adapter that all variants start from: the paper's first phases, made here or named by the user."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from safetensors import safe_open

from withanyone_core.adapter.branches import merge
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.files.digest import file_sha256

from ..recipes.tensor_files import write_tensors
from .commands import digest, settings_of, trained
from .variants import COMMON, NO_LOSSES, SHORT, UNWATCHED

SEED = 1_000  # of no variant
CHANGES = ("adapter.init=none", "data.paired_ratio=0", *NO_LOSSES, f"seed={SEED}")
RATE = "optim.lr=1e-3"  # of fresh weights


def made_start(recipe: Path, changes: tuple[str, ...], steps: int, folder: Path, made_of: str) -> Path:
    """Fresh weights trained to generate people by their own faces, without pairs and without identity losses.

    Nothing of what is compared has then been in the start.

    made_of  changes with the models and the data
    """
    lengths = f"optim.steps={steps}", f"save.every_steps={max(1, steps // 8)}", f"validation.every_steps={steps}"
    changes = (*COMMON, *SHORT, RATE, *UNWATCHED, *changes, *CHANGES, *lengths)
    key = digest([made_of, settings_of(recipe, changes, folder)])
    return trained(recipe, changes, folder / f"start_{key[:12]}")


def joined_start(files: Sequence[Path], folder: Path) -> Path:
    """The file itself, or one of two files' branches. Raises readable errors for what is no adapter or does not fit."""
    found = [inspect_adapter(path) for path in files]
    if len(found) == 1:
        return found[0].path
    name = sha256("".join(file_sha256(each.path) for each in found).encode()).hexdigest()[:12]
    path = folder / f"start_{name}.safetensors"
    if not path.is_file():
        write_tensors(path, merge(found))
    return path


def start_words(path: Path, files: Sequence[Path]) -> str:
    """What a start is, for people.

    files  that the user named for it; none where it was made here
    """
    branches = " and ".join(branch.value for branch in inspect_adapter(path).shapes)
    if files:
        named = " and ".join(f"{file.parent.name}/{file.name}{_trained_for(file)}" for file in files)
        return f"{named} (branches {branches}, SHA-256 {file_sha256(path)[:12]})"
    return (
        "fresh weights that had learned to generate people by their own faces, without pairs and identity losses "
        f"(branches {branches}{_trained_for(path)})"
    )


def _trained_for(path: Path) -> str:
    with safe_open(path, framework="pt") as reader:
        step = (reader.metadata() or {}).get("withanyone.step")
    return f", step {step}" if step else ""
