"""Plugs an adapter and placed people into a ComfyUI MODEL.

One APPLY_MODEL wrapper puts a block replacement around every block at call time, chained to whatever other nodes put
there. Nothing of ComfyUI is replaced, and the MODEL that came in is left as it was.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...adapter.shape import Branch, BranchShape
from ...cells import CellGroup, Grid, cell_groups
from ...layout import PlacedFace
from .canvas import announce_canvas, bind, chunks
from .parts import ComfyAdapter

KEY = "withanyone"
# Schedules hit a window's edge only up to rounding; a strict comparison would drop that step.
_SIGMA_TOLERANCE = 1e-4

UNKNOWN_PART = (
    "WithAnyone is off for a part of the picture whose place on the canvas is unknown (tiled sampling or spatial "
    "context windows). Sample the whole picture at once to place people."
)

logger = logging.getLogger(KEY)


@dataclass(frozen=True)
class Settings:
    """How an adapter is applied.

    weights         output weight of each branch; 0 leaves the branch out
    start, end      part of the denoising it works in, 0 to 1 as in ComfyUI's percent
    unconditional   whether negative and empty prompts are steered too
    """

    weights: Mapping[Branch, float]
    start: float = 0.0
    end: float = 1.0
    unconditional: bool = False


@dataclass(frozen=True)
class Pass:
    """One gather, attend, put back: the batch rows, the cells inside somebody's place, and what they attend to.

    cells   int64 [S] on the stream's device, in runs of `counts`
    people  for each run, the people its cells attend to
    """

    rows: slice
    cells: Tensor
    counts: tuple[int, ...]
    people: tuple[tuple[int, ...], ...]


@dataclass
class SamplingRun:
    """What lives as long as one sampling run: the device's copies of keys and values, and of the cells."""

    keys_values: dict[tuple, list[Tensor]] = field(default_factory=dict)
    cells: dict[tuple, tuple[Tensor, tuple[int, ...], tuple[tuple[int, ...], ...]]] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def warn(self, message: str) -> None:
        """Once per run, not once per step."""
        if message not in self.warned:
            self.warned.add(message)
            logger.warning(message)

    def end(self) -> None:
        self.keys_values.clear()
        self.cells.clear()
        self.warned.clear()


class Injection:
    """One Apply: people, their keys and values, and where in the MODEL's additional models the attention is found."""

    def __init__(
        self,
        faces: Sequence[PlacedFace],
        keys_values: Mapping[Branch, Sequence[Tensor]],
        slots: Mapping[Branch, int],
        settings: Settings,
        truncates_boxes: bool,
    ) -> None:
        self.faces = faces
        self.keys_values = keys_values
        self.slots = slots
        self.settings = settings
        self.truncates_boxes = truncates_boxes
        self.run = SamplingRun()

    def apply_model(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """APPLY_MODEL wrapper."""
        bound = bind(executor, args, kwargs)
        base = executor.class_obj
        options = bound.arguments.get("transformer_options", {})
        if not self._in_window(base.model_sampling, bound.arguments["t"]):
            return executor(*args, **kwargs)
        passes = self._passes(bound.arguments["x"], options, base.diffusion_model.patch_size)
        if not passes:
            return executor(*args, **kwargs)
        models = base.current_patcher.get_additional_models_with_key(KEY)
        attentions = {branch: models[slot].model for branch, slot in self.slots.items()}
        forward = Forward(self, passes, attentions)
        bound.arguments["transformer_options"] = forward.options(options, base.diffusion_model)
        return executor(*bound.args, **bound.kwargs)

    def _in_window(self, sampling: Any, sigmas: Tensor) -> bool:
        start, end = self.settings.start, self.settings.end
        if start <= 0.0 and end >= 1.0:
            return True
        sigma = sigmas.max().item()
        slack = _SIGMA_TOLERANCE * sigma
        after_start = start <= 0.0 or sigma <= sampling.percent_to_sigma(start) + slack
        before_end = end >= 1.0 or sigma >= sampling.percent_to_sigma(end) - slack
        return after_start and before_end

    def _passes(self, x: Tensor, options: Mapping[str, Any], patch_size: int) -> list[Pass]:
        """Consecutive conditionings that see the same part of the canvas are served together."""
        passes: list[Pass] = []
        previous: Grid | None = None
        for chunk in chunks(x, options, patch_size):
            grid = chunk.grid if chunk.conditional or self.settings.unconditional else None
            if grid is None:
                if chunk.grid is None:
                    self.run.warn(UNKNOWN_PART)
            elif grid == previous:
                passes[-1] = Pass(slice(passes[-1].rows.start, chunk.rows.stop), *self._cells(grid, x.device))
            else:
                passes.append(Pass(chunk.rows, *self._cells(grid, x.device)))
            previous = grid
        return [step for step in passes if step.counts]

    def _cells(self, grid: Grid, device: torch.device) -> tuple[Tensor, tuple[int, ...], tuple[tuple[int, ...], ...]]:
        if (grid, device) not in self.run.cells:
            groups = cell_groups([face.region for face in self.faces], grid, self.truncates_boxes)
            if grid.is_whole:
                self._warn_of_absent(groups)
            cells = torch.cat([group.cells for group in groups]) if groups else torch.empty(0, dtype=torch.int64)
            counts = tuple(len(group.cells) for group in groups)
            self.run.cells[grid, device] = cells.to(device), counts, tuple(group.people for group in groups)
        return self.run.cells[grid, device]

    def _warn_of_absent(self, groups: Sequence[CellGroup]) -> None:
        present = {person for group in groups for person in group.people}
        for index, face in enumerate(self.faces):
            if index not in present:
                self.run.warn(
                    f"“{face.identity.name}” covers no 16-pixel cell at this size and will not appear. "
                    "Paint a larger mask or draw a larger box."
                )

    def device_keys_values(self, branch: Branch, like: Tensor) -> list[Tensor]:
        """Each person's [layers, 2, heads, tokens, 64] beside the stream, the values scaled by the person's weight."""
        key = (branch, like.device, like.dtype)
        if key not in self.run.keys_values:
            copies = []
            for face, made in zip(self.faces, self.keys_values[branch], strict=True):
                copy = made.to(like.device, like.dtype)
                if face.weight != 1.0:
                    copy = torch.stack([copy[:, 0], copy[:, 1] * face.weight], dim=1)
                copies.append(copy)
            self.run.keys_values[key] = copies
        return self.run.keys_values[key]


class Forward:
    """One forward pass of the base model: replacements for its blocks, and the text length they learn on the way."""

    def __init__(self, injection: Injection, passes: Sequence[Pass], attentions: Mapping[Branch, Any]) -> None:
        self.injection = injection
        self.passes = passes
        self.attentions = attentions
        self.text_tokens = 0

    def options(self, options: Mapping[str, Any], diffusion_model: Any) -> dict[str, Any]:
        """A copy of `transformer_options` in which every block is followed by this adapter."""
        replacements = options.get("patches_replace", {})
        blocks = dict(replacements.get("dit", {}))
        doubles = len(diffusion_model.double_blocks)
        for index in range(doubles):
            blocks["double_block", index] = self._after_double(index, blocks.get(("double_block", index)))
        for index in range(len(diffusion_model.single_blocks)):
            blocks["single_block", index] = self._after_single(doubles + index, blocks.get(("single_block", index)))
        return {**options, "patches_replace": {**replacements, "dit": blocks}}

    def _after_double(self, layer: int, inner: Callable | None) -> Callable:
        def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            out = inner(args, extra) if inner else extra["original_block"](args)
            # Other nodes may lengthen the text after the prompt was encoded; the block's own output is the truth.
            self.text_tokens = out["txt"].shape[1]
            self.add_people(out["img"], layer, 0)
            return out

        return block

    def _after_single(self, layer: int, inner: Callable | None) -> Callable:
        def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            out = inner(args, extra) if inner else extra["original_block"](args)
            self.add_people(out["img"], layer, self.text_tokens)
            return out

        return block

    def add_people(self, stream_BND: Tensor, layer: int, first: int) -> None:
        """Adds every branch's residual in place to the image tokens, which begin at token `first` of the stream."""
        for step in self.passes:
            rows = stream_BND[step.rows]
            index = step.cells + first
            tokens = rows.index_select(1, index)
            updated = tokens
            for branch, weight in self.injection.settings.weights.items():
                if branch in self.attentions:
                    keys_values = self._runs(branch, layer, step, stream_BND)
                    updated = updated + weight * self.attentions[branch][layer](tokens, step.counts, keys_values)
            if updated.dtype == torch.float16:  # FLUX outgrows float16; ComfyUI clips its own stream the same way
                updated = torch.nan_to_num(updated, nan=0.0, posinf=65504, neginf=-65504)
            rows.index_copy_(1, index, updated)

    def _runs(self, branch: Branch, layer: int, step: Pass, like: Tensor) -> list[Tensor]:
        """Keys and values for each run of cells, [2, heads, tokens of all its people, 64]."""
        of_person = self.injection.device_keys_values(branch, like)
        return [
            of_person[people[0]][layer]
            if len(people) == 1
            else torch.cat([of_person[person][layer] for person in people], dim=2)
            for people in step.people
        ]


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
    weights = {branch: weight for branch, weight in settings.weights.items() if weight != 0}
    for branch in weights:
        check_base(model, adapter.file.shapes[branch])
    if not faces or not weights:
        return patched
    keys_values = {branch: [adapter.keys_values(branch, face.identity) for face in faces] for branch in weights}
    slots = _attach_attentions(patched, adapter, list(weights))
    settings = Settings(weights, settings.start, settings.end, settings.unconditional)
    injection = Injection(faces, keys_values, slots, settings, adapter.file.truncates_boxes)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _closure(injection))
    patched.add_callback_with_key(CallbacksMP.ON_CLEANUP, KEY, lambda *_: injection.run.end())
    if announce_canvas not in patched.get_wrappers(WrappersMP.PREDICT_NOISE, KEY):
        patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, announce_canvas)
    return patched


def check_base(model: comfy.model_patcher.ModelPatcher, shape: BranchShape) -> None:
    """Refuses anything but a FLUX.1 transformer of the adapter's size that runs in ComfyUI's own class."""
    base = getattr(model.model, "diffusion_model", None)
    kind = type(model.model).__name__
    if not hasattr(base, "double_blocks") or not hasattr(base, "single_blocks"):
        raise ValueError(
            f"WithAnyone works on FLUX.1 models; {kind} has no double_blocks and single_blocks to follow. Load "
            "FLUX.1-dev (or FLUX.1 Kontext) with Load Diffusion Model or a GGUF loader; Nunchaku's replacement model "
            "cannot be used."
        )
    if getattr(base, "vector_in", None) is None:
        raise ValueError(
            f"WithAnyone works on FLUX.1 models; {kind} has similar blocks but is another model (Flux.2, Chroma and "
            "others need an adapter of their own)."
        )
    layers = len(base.double_blocks) + len(base.single_blocks)
    if (base.hidden_size, layers) != (shape.hidden, shape.layers):
        raise ValueError(
            f"This adapter was made for a model of width {shape.hidden} with {shape.layers} blocks; the connected "
            f"{kind} has width {base.hidden_size} and {layers} blocks. Use FLUX.1-dev with the released adapters."
        )


def _closure(injection: Injection) -> Callable:
    """ComfyUI before 0.14 deep-copies callable objects with every clone of a MODEL; a plain function it shares."""

    def apply_model(executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        return injection.apply_model(executor, *args, **kwargs)

    return apply_model


def _attach_attentions(
    model: comfy.model_patcher.ModelPatcher, adapter: ComfyAdapter, branches: Sequence[Branch]
) -> dict[Branch, int]:
    """Attaches each branch's attention once, however often it is applied; returns its place in the list."""
    models = list(model.get_additional_models_with_key(KEY))
    slots = {}
    for branch in branches:
        patcher = adapter.part(branch, "attention")
        known = next((slot for slot, other in enumerate(models) if other.is_clone(patcher)), None)
        slots[branch] = len(models) if known is None else known
        if known is None:
            models.append(patcher)
    model.set_additional_models(KEY, models)
    return slots
