"""The result file of a run: a checkpoint as an adapter, LoRA or identity, and a header that says how it was made."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from shutil import copyfile
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from withanyone_core.adapter.base import METADATA_KEY as BASE_KEY
from withanyone_core.adapter.branches import merge, split
from withanyone_core.adapter.checkpoint import AdapterFile, Change, inspect_adapter
from withanyone_core.adapter.face_model import METADATA_KEY
from withanyone_core.adapter.lora import read_lora
from withanyone_core.base_models.flux1 import FLUX_1
from withanyone_core.base_models.flux2 import FLUX_2
from withanyone_core.files.tensors import save_tensors
from withanyone_core.identities.identity_file import KIND, load_identity
from withanyone_core.version import VERSION

from ..configuration.writing import without_paths
from ..loop.checkpoints import ADAPTER, NUMBERS, count_of, not_finite
from ..loop.own_tokens import face_model

RESULT, LORA_RESULT = "adapter.safetensors", "lora.safetensors"
_LORA_END = ".lora_A.weight"
# As modelspec names them.
_ARCHITECTURES = {FLUX_1.name: "flux-1-dev", FLUX_2.name: "flux-2"}
Header = dict[str, str]


def is_lora(keys: Iterable[str]) -> bool:
    return any(key.endswith(_LORA_END) for key in keys)


def exported(checkpoint: Path, init: Path | None, merged: bool = False) -> dict[str, Tensor]:
    """The tensors of a result file, from a checkpoint's folder and the adapter that the run started from.

    A LoRA stays one unless it is to be merged; a trained branch replaces that of the adapter.

    Raises ValueError where something is damaged or does not fit.
    """
    trained = checkpoint / ADAPTER
    try:
        with safe_open(trained, framework="pt") as reader:
            lora = is_lora(reader.keys())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint of finetune.py: {error}.") from error
    if not lora:
        file = inspect_adapter(trained)
        return _whole(file) if init is None or file.layout == "single" else merge([inspect_adapter(init), file])
    if not merged:
        return load_file(trained)
    if init is None:
        raise ValueError("A LoRA is merged into the adapter it was trained on; name that file (--init).")
    file = inspect_adapter(init)
    return _whole(file, [read_lora(trained, file)])


def base_of_checkpoint(checkpoint: Path) -> str:
    """Name of the base model that a checkpoint was trained on. Those that do not say were trained on FLUX.1."""
    with safe_open(checkpoint / ADAPTER, framework="pt") as reader:
        return (reader.metadata() or {}).get(BASE_KEY, FLUX_1.name)


def is_identity(checkpoint: Path) -> bool:
    """Whether a checkpoint holds one person's tokens. Raises ValueError for what is no checkpoint."""
    try:
        with safe_open(checkpoint / ADAPTER, framework="pt") as reader:
            return (reader.metadata() or {}).get("format", "").startswith(KIND)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint of finetune.py: {error}.") from error


def write_identity(path: Path, checkpoint: Path) -> Path:
    """Copies the identity of a checkpoint in one step, its numbers checked.

    Raises ValueError for one that is damaged, OSError where the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # With the ending of the finished file, because the check below opens nothing else.
    partial = path.with_name(path.name + ".partial.safetensors")
    try:
        copyfile(checkpoint / ADAPTER, partial)
        load_identity(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def header_of(
    settings: Mapping[str, Any],
    step: int,
    data: str,
    measured: Sequence[Mapping[str, Any]],
    lora: bool,
    changes: Sequence[Mapping[str, Any]] = (),
    base: str = FLUX_1.name,
) -> Header:
    """The file's header: modelspec's fields, the recipe without this machine's paths, the data, and what it brought.

    settings  those that the checkpoint was made with
    changes   what was another in them before, by the step after which it was changed
    base      the base model's name, as `base_of_checkpoint` gives it
    """
    before, after = _at(measured, 0), _at(measured, step)
    people = {"before": before, "after": after}
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_ARCHITECTURES[base]}/withanyone" + ("-lora" if lora else ""),
        "modelspec.implementation": "https://github.com/Doby-Xu/WithAnyone",
        "modelspec.title": f"{Path(settings['out']).name} (step {step})",
        "modelspec.date": date.today().isoformat(),
        "modelspec.description": "A WithAnyone identity adapter, fine-tuned on a user's own photos.",
        BASE_KEY: base,
        **_face_model(settings["id_loss"]["recognizer"]),
        "withanyone.version": VERSION,
        "withanyone.step": str(step),
        "withanyone.recipe": json.dumps(without_paths(dict(settings))),
        **({"withanyone.changes": json.dumps(without_paths(list(changes)))} if changes else {}),
        "withanyone.data": data,
        "withanyone.numbers": json.dumps(people),
    }


def write_result(path: Path, tensors: Mapping[str, Tensor], header: Header) -> Path:
    """Writes a result in one step and reads its header back.

    Raises ValueError for values that are not finite, OSError where the disk does not take it.
    """
    wrong = not_finite(tensors)
    if wrong:
        raise ValueError(
            f"{path.name} is not written: values that are not finite are in {count_of(wrong, len(tensors))}. The run "
            "has diverged; export an earlier checkpoint, or train again with a lower optim.lr."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # With the ending of the finished file, because the check below opens nothing else.
    partial = path.with_name(path.name + ".partial.safetensors")
    try:
        save_tensors(partial, tensors, header)
        if not is_lora(tensors):
            inspect_adapter(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 2**30
        raise OSError(
            f"{path} could not be written ({error}); it needs {size:.2f} GiB. The checkpoint is whole: free some "
            "space, and run export.py on it."
        ) from error
    return path


def checkpoint_numbers(checkpoint: Path) -> dict[str, Any]:
    """What state.json of a checkpoint says."""
    try:
        return json.loads((checkpoint / NUMBERS).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint of finetune.py: {error}.") from error


def _whole(file: AdapterFile, changes: Sequence[Change] = ()) -> dict[str, Tensor]:
    if file.layout == "single":
        return split(file, next(iter(file.shapes)), changes)
    return merge([file], changes)


def _face_model(recognizer: str | None) -> Header:
    """The recognizer whose embeddings the adapter reads."""
    return {METADATA_KEY: face_model(recognizer)} if recognizer else {}


def _at(measured: Sequence[Mapping[str, Any]], step: int) -> dict[str, float | None]:
    """Means of the latest validation up to a step."""
    earlier = [validation for validation in measured if validation["step"] <= step]
    if not earlier:
        return {}
    latest = earlier[-1]
    names = ("sim_gt", "sim_ref", "copy_paste")
    means = {name: latest[name]["mean"] if latest.get(name) else None for name in names}
    losses = latest["validation"]
    return {"step": latest["step"], **means, "validation": sum(losses) / len(losses) if losses else None}
