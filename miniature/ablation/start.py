"""The adapter that all variants start from: the paper's first phase, made here or named by the user."""

from pathlib import Path

from safetensors import safe_open

from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.digest import file_sha256

from .commands import digest, settings_of, trained
from .variants import COMMON, NO_LOSSES, UNWATCHED

SEED = 1_000  # of no variant
CHANGES = ("adapter.init=none", "data.paired_ratio=0", *NO_LOSSES, f"seed={SEED}")


def made_start(recipe: Path, changes: tuple[str, ...], steps: int, folder: Path, made_of: str) -> Path:
    """Fresh weights trained to paint people by their own faces, without pairs and without identity losses.

    Nothing of what is compared has then been in the start.

    made_of  changes with the models and the data
    """
    changes = (*COMMON, *UNWATCHED, *changes, *CHANGES, f"optim.steps={steps}", f"save.every={max(1, steps // 8)}")
    changes = (*changes, f"eval.every={steps}")
    key = digest([made_of, settings_of(recipe, changes, folder)])
    return trained(recipe, changes, folder / f"start_{key[:12]}")


def start_words(path: Path, is_given: bool) -> str:
    """What a start is, for people. Raises an error in words for a file that is no adapter."""
    branches = " and ".join(branch.value for branch in inspect_adapter(path).shapes)
    with safe_open(path, framework="pt") as reader:
        header = reader.metadata() or {}
    step = header.get("withanyone.step")
    trained_for = f", {step} steps of training" if step else ""
    if not is_given:
        return f"fresh weights that had learnt to paint people by their own faces (branches {branches}{trained_for})"
    return f"{path.name} (branches {branches}{trained_for}, SHA-256 {file_sha256(path)[:12]})"
