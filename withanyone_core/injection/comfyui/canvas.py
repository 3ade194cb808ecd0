"""What part of the image a model call works on, passed by the guider to the calls below it.

A model call only sees a tensor. Whether that tensor is the whole latent, an area of it or a stranger's tile is known
one level up, so a wrapper there writes it into `transformer_options`, which travels down to every call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import BoundArguments, signature
from typing import Any
from uuid import UUID

import torch

from ...regions.cells import Grid

OPTION = "withanyone_canvas"

Area = tuple[int, int, int, int]


@dataclass(frozen=True)
class Canvas:
    """The whole latent of a sampling step, in latent pixels.

    areas          (height, width, y, x) of every conditioning that is restricted to an area, by its id
    unconditional  ids of the conditionings that steer away (negative and empty prompts)
    """

    height: int
    width: int
    areas: Mapping[UUID, Area] = field(default_factory=dict)
    unconditional: frozenset[UUID] = frozenset()


@dataclass(frozen=True)
class Chunk:
    """The rows of one conditioning in a batched call. `grid` is None where their place on the canvas is unknown."""

    rows: slice
    conditional: bool
    grid: Grid | None


def bind(executor: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
    """Arguments by name, whatever ComfyUI's version passes by position."""
    return signature(executor.original).bind(*args, **kwargs)


def announce_canvas(executor: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    """PREDICT_NOISE wrapper: the guider still sees the whole latent and all conditionings."""
    bound = bind(executor, args, kwargs)
    model_options = bound.arguments.get("model_options") or {}
    # CFGGuider, and guiders built on it, keep their conditionings here.
    conds = getattr(executor.class_obj, "conds", {})
    height, width = bound.arguments["x"].shape[-2:]
    canvas = Canvas(height, width, *_marks(conds))
    # Copies: the guider passes the dicts that came in to its next step as well.
    options = {**model_options.get("transformer_options", {}), OPTION: canvas}
    bound.arguments["model_options"] = {**model_options, "transformer_options": options}
    return executor(*bound.args, **bound.kwargs)


def chunks(x: torch.Tensor, options: Mapping[str, Any], token_px: int, latent_px: int) -> list[Chunk]:
    """The conditionings batched in a call on latents `x` [rows, channels, height, width], in row order.

    token_px, latent_px  pixels of the canvas along a side of an image token, and of one place of the latent
    """
    height, width = x.shape[-2:]
    canvas = options.get(OPTION) or Canvas(height, width)
    kinds = options.get("cond_or_uncond") or [0]
    ids = options.get("uuids") or [None] * len(kinds)
    # Chunk by chunk: rows k * size to (k + 1) * size belong to cond_or_uncond[k].
    size = x.shape[0] // len(kinds)
    return [
        Chunk(
            rows=slice(index * size, (index + 1) * size),
            # ComfyUI's 0 marks the first of a guider's prompts, which need not be the positive one; names decide where
            # known.
            conditional=uuid not in canvas.unconditional if canvas.unconditional else kind == 0,
            grid=_grid(canvas, None if uuid is None else canvas.areas.get(uuid), height, width, token_px, latent_px),
        )
        for index, (kind, uuid) in enumerate(zip(kinds, ids, strict=True))
    ]


def _marks(conds: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[dict[UUID, Area], frozenset[UUID]]:
    """Areas and steering-away prompts by id: guiders with three prompts do not put the positive one first."""
    known = [(name, entry) for name, entries in conds.items() for entry in entries or () if "uuid" in entry]
    areas = {entry["uuid"]: tuple(entry["area"]) for _, entry in known if len(entry.get("area", ())) == 4}
    return areas, frozenset(entry["uuid"] for name, entry in known if "negative" in name)


def _grid(canvas: Canvas, area: Area | None, height: int, width: int, token_px: int, latent_px: int) -> Grid | None:
    """Cells of a crop; None unless it is the whole canvas or the conditioning's own area.

    A canvas that is no multiple of a token ends in a cell that FLUX pads.
    """
    top = left = 0
    if area is not None:
        area_height, area_width, top, left = area
        # ComfyUI cuts an area off at the latent's edge.
        expected = min(area_height, canvas.height - top), min(area_width, canvas.width - left)
    else:
        expected = canvas.height, canvas.width
    if (height, width) != expected:
        return None
    return Grid(
        columns=-(-width * latent_px // token_px),
        rows=-(-height * latent_px // token_px),
        canvas_width_px=canvas.width * latent_px,
        canvas_height_px=canvas.height * latent_px,
        left_px=left * latent_px,
        top_px=top * latent_px,
        cell_px=token_px,
    )
