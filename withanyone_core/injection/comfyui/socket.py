"""Plugs an adapter and placed people into a ComfyUI MODEL.

One APPLY_MODEL wrapper puts a block replacement around every block at call time, chained to whatever other nodes put
there. Nothing of ComfyUI is replaced, and the MODEL that came in is left as it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP

from ...adapter.base import check_base
from ...adapter.checkpoint import AdapterFile
from ...adapter.shape import Branch
from ...base_models.base_model import BaseModel
from ...base_models.registry import base_of_module, known_labels
from ...regions.layout import PlacedFace
from .canvas import announce_canvas
from .injection import KEY, Injection, Settings
from .memory import KeysValuesMemory
from .parts import ComfyAdapter


def apply_adapter(
    model: comfy.model_patcher.ModelPatcher,
    adapter: ComfyAdapter,
    faces: Sequence[PlacedFace],
    settings: Settings,
) -> comfy.model_patcher.ModelPatcher:
    """A clone of `model` whose samples show the people in their places.

    Raises ValueError where the base model does not fit the adapter, or a person lacks what an active branch needs.
    """
    patched = model.clone()
    faces = [face for face in faces if face.weight != 0]
    weights = {branch: settings.weights[branch] for branch in Branch if settings.weights.get(branch, 0) != 0}
    base = base_of_model(model, adapter.file)
    if not faces or not weights:
        return patched
    device = model.load_device
    check_fp8(adapter, device)
    people = [face.identity for face in faces]
    keys_values = {branch: adapter.all_keys_values(branch, people, device) for branch in weights}
    slot = _attach_attention(patched, adapter, tuple(weights))
    settings = replace(settings, weights=weights)
    injection = Injection(base, faces, keys_values, slot, settings, adapter.file.truncates_boxes)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _closure(injection.apply_model))
    patched.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, _closure(injection.sampler_sample))
    patched.add_wrapper_with_key(
        WrappersMP.PREPARE_SAMPLING, KEY, _closure(KeysValuesMemory(keys_values).prepare_sampling)
    )
    # After every run, so that nothing stays on the device between runs.
    patched.add_callback_with_key(CallbacksMP.ON_CLEANUP, KEY, lambda *_: injection.run.end())
    # Once for all Apply nodes: it says what is sampled, not who.
    if announce_canvas not in patched.get_wrappers(WrappersMP.PREDICT_NOISE, KEY):
        patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, announce_canvas)
    return patched


def base_of_model(model: comfy.model_patcher.ModelPatcher, file: AdapterFile) -> BaseModel:
    """The family of a MODEL. ValueError unless it runs in ComfyUI's own class and the adapter was made for its size."""
    transformer: Any = getattr(model.model, "diffusion_model", None)  # whatever model some loader has made
    kind = type(model.model).__name__
    if not hasattr(transformer, "double_blocks") or not hasattr(transformer, "single_blocks"):
        raise ValueError(
            f"WithAnyone works on {known_labels()} models; {kind} has no double_blocks and single_blocks to follow. "
            "Load FLUX with Load Diffusion Model or a GGUF loader; Nunchaku's replacement model cannot be used."
        )
    base = base_of_module(transformer)
    if base is None:
        raise ValueError(
            f"WithAnyone works on {known_labels()} models; {kind} has similar blocks but is another model (Chroma and "
            "others need an adapter of their own)."
        )
    blocks = len(transformer.double_blocks) + len(transformer.single_blocks)
    check_base(file, base, blocks, transformer.hidden_size, kind)
    return base


def check_fp8(adapter: ComfyAdapter, device: torch.device) -> None:
    """Refuses fp8 on Apple's GPUs, to which torch cannot even copy it."""
    if adapter.fp8 and device.type == "mps":
        raise ValueError(
            f"{adapter.file.path.name} was loaded as fp8, which Apple's GPUs do not have. Choose dtype “as stored” in "
            "Load WithAnyone Adapter."
        )


def _closure(wrapper: Callable) -> Callable:
    """ComfyUI before 0.14 deep-copies callable objects with every clone of a MODEL; a plain function it shares."""

    def call(executor: Callable, *args: Any, **kwargs: Any) -> Any:
        return wrapper(executor, *args, **kwargs)

    return call


def _attach_attention(
    model: comfy.model_patcher.ModelPatcher, adapter: ComfyAdapter, branches: tuple[Branch, ...]
) -> int:
    """Attaches the attention of these branches once, however often it is applied; returns its place in the list."""
    models = list(model.get_additional_models_with_key(KEY))
    patcher = adapter.attention(branches, model.load_device)
    if any(other.is_clone(patcher) and other.patches_uuid != patcher.patches_uuid for other in models):
        # The same weights with other LoRAs are there already.
        patcher = adapter.attention_apart(branches, model.load_device)
    known = next((slot for slot, other in enumerate(models) if other.is_clone(patcher)), None)
    if known is not None:
        return known
    model.set_additional_models(KEY, [*models, patcher])
    return len(models)
