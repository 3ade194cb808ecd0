"""What one Apply node does in a sampling run: who is active, where, how strongly, with which keys and values."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...adapter.shape import Branch
from ...base_models.base_model import BaseModel
from ...regions.cells import Grid, cell_groups
from ...regions.layout import PlacedFace, stretching
from ...timing import ALWAYS, CONSTANT, Curve, Window
from .canvas import bind, chunks
from .compiling import compiler_mark
from .forward import Forward
from .keys_values import DeviceKeysValues
from .moment import Moment
from .region_tokens import People, RegionTokens, group_tokens
from .watching import Watch, Watcher, one_run

KEY = "withanyone"
WEIGHTS = "withanyone_person_weights"
EDIT_WITHOUT_REFERENCE = (
    "This adapter has one ArcFace branch, like Ke, which edits faces of an image given by ReferenceLatent; there is "
    "no reference here. If it is Ke, use the Kontext edit workflow; if it was trained for FLUX.1-dev, all is well."
)
REFERENCE_WITHOUT_EDIT = (
    "There is a Kontext reference, but this adapter was not made for editing faces (Ke is). The people will be put "
    "into the new image, and the reference is left to Kontext alone."
)
UNKNOWN_PART = (
    "WithAnyone is off for a part of the image whose place on the canvas is unknown (tiled sampling or spatial "
    "context windows). Sample the whole image at once to place people."
)

BROKEN_LATENT = (
    "The latent holds NaN or infinite values, to which WithAnyone has added nothing yet; the image would be black. "
    "Usually a VAE or a base model overflowed in float16: run them in bfloat16 or float32, or check the node that made "
    "the latent."
)

logger = logging.getLogger(KEY)


@dataclass(frozen=True)
class Settings:
    """How an adapter is applied.

    weights         output weight of each branch; 0 leaves the branch out
    window          the part of the denoising it works in
    curve           a factor on the weights that moves over the window
    unconditional   whether negative and empty prompts are steered too
    """

    weights: Mapping[Branch, float]
    window: Window = ALWAYS
    curve: Curve = CONSTANT
    unconditional: bool = False


@dataclass
class PersonWeights:
    """Weights in the place of those of Place Face, for one sampling run: in `transformer_options` under `WEIGHTS`.

    used  the people whom an Apply found in it
    """

    weights: Mapping[PlacedFace, float]
    used: set[PlacedFace] = field(default_factory=set)

    def of(self, face: PlacedFace) -> float:
        if face in self.weights:
            self.used.add(face)
        return self.weights.get(face, face.weight)


@dataclass
class SamplingRun:
    """What lives as long as one sampling run: the device's copies of keys and values, and of the cells."""

    weights: PersonWeights = field(default_factory=lambda: PersonWeights({}))
    keys_values: dict[tuple[torch.device, torch.dtype], DeviceKeysValues] = field(default_factory=dict)
    region_tokens: dict[tuple[Grid, torch.device, People], RegionTokens] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)
    latent_checked: bool = False

    def warn(self, message: str) -> None:
        """Once per run, not once per step."""
        if message not in self.warned:
            self.warned.add(message)
            logger.warning(message)

    def check_latent(self, latent: Tensor) -> None:
        """ValueError for NaN or infinity at the run's first call; asking at each would make the CPU wait each time."""
        if not self.latent_checked and not latent.isfinite().all():
            raise ValueError(BROKEN_LATENT)
        self.latent_checked = True

    def end(self) -> None:
        self.weights = PersonWeights({})
        self.keys_values.clear()
        self.region_tokens.clear()
        self.warned.clear()
        self.latent_checked = False


class Injection:
    """People, their keys and values, and where in the MODEL's additional models the attention is found.

    base            the family of the MODEL
    keys_values     of each branch that works, every person's [layers, 2, heads, tokens, 64] on the CPU
    slot            the place of the attention of these branches in the additional models under `KEY`
    truncates_boxes whether boxes are rounded as the face-edit program does
    """

    def __init__(
        self,
        base: BaseModel,
        faces: Sequence[PlacedFace],
        keys_values: Mapping[Branch, Sequence[Tensor]],
        slot: int,
        settings: Settings,
        truncates_boxes: bool,
    ) -> None:
        self.base = base
        self.faces = faces
        self.keys_values = keys_values
        self.slot = slot
        self.settings = settings
        self.truncates_boxes = truncates_boxes
        self.run = SamplingRun()
        self.watcher = Watcher(faces, settings.window)

    def apply_model(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """APPLY_MODEL wrapper."""
        bound = bind(executor, args, kwargs)
        model = executor.class_obj
        options = bound.arguments.get("transformer_options", {})
        self.run.weights = options.get(WEIGHTS, self.run.weights)
        # At APPLY_MODEL `t` is sigma still; only below does it become the model's timestep.
        moment = Moment(model.model_sampling, bound.arguments["t"], options.get("sample_sigmas"))
        people = self._people_at(moment)
        self.watcher.before_call(moment, people)
        # Of the latent; the rest of a token's pixels are joined by the VAE.
        latent_px = self.base.token_px // model.diffusion_model.patch_size
        regions = self._regions(bound.arguments["x"], options, latent_px, people) if people else []
        if regions:
            self.run.check_latent(bound.arguments["x"])
            self._warn_of_suspicions(bool(bound.kwargs.get("ref_latents")))
        # Looked up at each call: with several GPUs each device has a patcher of its own.
        attention = model.current_patcher.get_additional_models_with_key(KEY)[self.slot].model
        strength = self._strength_at(moment) if regions else 0.0
        # Also where nobody is active: compiled blocks must find the same replacements in every call.
        forward = Forward(regions, strength, attention, self.device_keys_values)
        with forward.after_blocks(options, model.diffusion_model) as bound.arguments["transformer_options"]:
            out = executor(*bound.args, **{**bound.kwargs, **compiler_mark(model.diffusion_model, options)})
        self.watcher.after_call(forward, model.diffusion_model)
        return out

    def sampler_sample(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """SAMPLER_SAMPLE wrapper: after a run that was not interrupted, says who was never followed."""
        self.watcher.watch = Watch()
        try:
            with one_run() as said:
                out = executor(*args, **kwargs)
                message = self.watcher.finish()
                if message and message not in said:
                    said.add(message)
                    logger.warning(message)
            return out
        finally:
            self.watcher.watch = Watch()

    def device_keys_values(self, like: Tensor) -> DeviceKeysValues:
        """Everybody's keys and values beside a tensor, the values scaled by the branch's and the person's weight."""
        key = like.device, like.dtype
        if key not in self.run.keys_values:
            weights = [self.settings.weights[branch] for branch in self.keys_values]
            # In the values and not on the output: under one softmax over several people each keeps a weight of their
            # own.
            scales = [[weight * self.run.weights.of(face) for face in self.faces] for weight in weights]
            self.run.keys_values[key] = DeviceKeysValues(list(self.keys_values.values()), scales, like)
        return self.run.keys_values[key]

    def _warn_of_suspicions(self, has_reference: bool) -> None:
        """Ke and the others can be told apart by their shapes only so far, so this stays a warning."""
        if not self.base.edits_by_reference:
            return
        is_edit = self.truncates_boxes and Branch.ARC in self.keys_values
        if is_edit and not has_reference:
            self.run.warn(EDIT_WITHOUT_REFERENCE)
        if has_reference and not is_edit:
            self.run.warn(REFERENCE_WITHOUT_EDIT)

    def _people_at(self, moment: Moment) -> People:
        if not moment.is_in(self.settings.window):
            return ()
        return tuple(index for index, face in enumerate(self.faces) if moment.is_in(face.window))

    def _strength_at(self, moment: Moment) -> float:
        if self.settings.curve.is_one:
            return 1.0
        return self.settings.curve.at(moment.position_in(self.settings.window))

    def _regions(self, x: Tensor, options: Mapping[str, Any], latent_px: int, people: People) -> list[RegionTokens]:
        """Consecutive conditionings that see the same part of the canvas are served together."""
        regions: list[RegionTokens] = []
        previous: Grid | None = None
        for chunk in chunks(x, options, self.base.token_px, latent_px):
            grid = chunk.grid if chunk.conditional or self.settings.unconditional else None
            if chunk.grid is None:
                self.run.warn(UNKNOWN_PART)
            if grid is not None and grid == previous:
                regions[-1] = regions[-1].in_rows(slice(regions[-1].rows.start, chunk.rows.stop))
            elif grid is not None:
                regions.append(self._region_tokens(grid, x.device, people).in_rows(chunk.rows))
            previous = grid
        return [served for served in regions if served.groups]

    def _region_tokens(self, grid: Grid, device: torch.device, people: People) -> RegionTokens:
        """In all rows."""
        key = grid, device, people
        if key not in self.run.region_tokens:
            groups = cell_groups([self.faces[person].region for person in people], grid, self.truncates_boxes)
            # `cell_groups` numbers the people it was given; from here on they are numbered among all.
            runs = [replace(group, people=tuple(people[index] for index in group.people)) for group in groups]
            found = group_tokens(runs, self._tokens_of_people(), device)
            # In an area or a tile somebody may be missing with good reason.
            if grid.is_whole:
                self._warn_of_absent(found, people)
                self._warn_of_stretching(grid)
            self.run.region_tokens[key] = found
        return self.run.region_tokens[key]

    def _tokens_of_people(self) -> list[tuple[int, ...]]:
        """Of each person, in every branch."""
        return [tuple(made.shape[-2] for made in person) for person in zip(*self.keys_values.values(), strict=True)]

    def _warn_of_stretching(self, grid: Grid) -> None:
        words = stretching(self.faces, grid.canvas_width_px, grid.canvas_height_px)
        if words:
            self.run.warn(
                f"The latent is {words} it, and faces with them. Give the latent the layout's width and height."
            )

    def _warn_of_absent(self, found: RegionTokens, people: People) -> None:
        for person in people:
            if person not in found.people:
                self.run.warn(
                    f"“{self.faces[person].identity.name}” covers no {self.base.token_px}-pixel cell at this size "
                    "and will not appear. Paint a larger mask or draw a larger box."
                )
