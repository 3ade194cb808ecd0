"""WithAnyone's own files: adapters and identities. The rules are those of their loaders."""

from collections.abc import Sequence
from pathlib import Path

from ..adapter.base import base_of
from ..adapter.checkpoint import AdapterFile, AdapterFileError, expected_keys, fingerprint, inspect_adapter
from ..adapter.places import places_of
from ..adapter.shape import Branch, BranchShape
from ..base_models.base_model import BaseModel
from ..base_models.flux1 import FLUX_1
from ..base_models.registry import BASE_MODELS
from ..file_kinds.header import Header, named
from ..file_kinds.kinds import Json, Kind
from ..file_kinds.naming import is_adapter, is_identity
from ..identities.identity_file import IdentityFileError, inspect_identity, load_identity


def recognize_adapter(header: Header, path: Path) -> Kind | None:
    if not is_adapter(header):
        return None
    try:
        file = inspect_adapter(path)
        places, base = places_of(file), base_of(file)
    except AdapterFileError as error:
        return Kind("WithAnyone adapter, damaged or not complete", "nothing as it is", faults=(str(error),))
    used = {key for shape in file.shapes.values() for key in expected_keys(shape, file.layout)}
    dropped = sorted(header.tensors.keys() - used - set(file.unknown))
    facts: dict[str, Json] = {"layout": file.layout, "stored as": str(file.dtype).removeprefix("torch.")}
    facts |= {f"{branch.value} branch": _sizes(shape) for branch, shape in file.shapes.items()}
    facts["dead tensors dropped"] = named(dropped) if dropped else "none"
    facts["unknown tensors left out"] = list(file.unknown) or "none"
    facts["base model"] = base.label if base else "not named in the file"
    facts["fingerprint"] = fingerprint(file)
    if places is not None:
        canvas = f"the places it was trained on, in pixels of {places.width_px} x {places.height_px}"
        facts[canvas] = places.readable()
    if header.metadata.get("arc_source") or header.metadata.get("sig_source"):
        facts["merged from"] = [header.metadata.get(key, "?") for key in ("arc_source", "sig_source")]
    return Kind("WithAnyone adapter", _fits(file), facts)


def recognize_identity(header: Header, path: Path) -> Kind | None:
    if not is_identity(header):
        return None
    fits = "Load Identity, with every adapter"
    try:
        file = inspect_identity(path)
        load_identity(path)  # small enough to compare its own digest
    except IdentityFileError as error:
        return Kind("WithAnyone identity, damaged", "nothing as it is", faults=(str(error),))
    facts: dict[str, Json] = {"name": file.name, "face model": file.face_model, "made from": file.made_from}
    facts |= {"created": file.created, "by": file.software, "shapes": {k: list(v) for k, v in file.shapes.items()}}
    if file.adapter:
        named = f" ({file.adapter_name})" if file.adapter_name else ""
        fits = f"Load Identity, with the adapter of fingerprint {file.adapter}{named}: it holds tokens learned for it"
        facts["tokens learned towards the recognizer"] = file.recognizer or "unknown"
    return Kind("WithAnyone identity", fits, facts)


def _sizes(shape: BranchShape) -> str:
    siglip = f", SigLIP tokens of {shape.siglip_width}" if shape.siglip_width else ""
    return (
        f"{shape.layers} layers, width {shape.hidden}, {shape.heads} heads, "
        f"{shape.arc_tokens} tokens from an embedding of {shape.embedding}{siglip}"
    )


def _fits(file: AdapterFile) -> str:
    base = base_of(file)
    shape = next(iter(file.shapes.values()))
    models = () if base is None else base.named(shape.layers, shape.hidden)
    if base is not FLUX_1 or not models:
        return _fits_other(base, shape, models)
    if file.layout == "dual":
        one = "" if len(file.shapes) == 2 else f" It has the {next(iter(file.shapes)).value} branch only."
        return (
            "FLUX.1-dev, text to image. A K adapter (FLUX.1-Kontext-dev, text to image) has the same keys: only the "
            f"file's name or hash distinguishes the two.{one}"
        )
    if Branch.SIG in file.shapes:
        return "FLUX.1-dev: a sig branch as the training program writes it, not yet merged with an arc branch"
    return (
        "FLUX.1-Kontext-dev, face editing (Ke), or FLUX.1-dev if it is an arc branch as the training program writes it"
    )


def _fits_other(base: BaseModel | None, shape: BranchShape, models: Sequence[str]) -> str:
    """Of an adapter for another model than the released ones are for."""
    if models:
        return f"{', '.join(models)}, the base model it was trained with"
    family = "a base model" if base is None else f"a {base.label}"
    known = "; ".join(
        f"{name} has {size.blocks} of width {size.width}" for each in BASE_MODELS for name, size in each.sizes.items()
    )
    return (
        f"{family} of {shape.layers} blocks and width {shape.hidden}, the one it was trained with; no published model "
        f"({known})"
    )
