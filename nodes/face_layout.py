"""Places drawn by hand: boxes on a canvas in the browser, kept in the workflow as JSON.

The canvas warns of a box under 4 x 4 cells. ArcFace's template of a face is 112 pixels wide, with the eyes 35 and the
corners of the mouth 29 of them apart. At 4 cells (64 pixels) both pairs are more than one cell apart, so that each eye
and each corner has image tokens of its own; at 3 cells both may share one, and the model has one place for two.
"""

from typing import Any

import torch
from comfy_api.latest import io

from ..withanyone_core.canvas import CELL_PX, floor_to_tokens
from ..withanyone_core.faces.photo import image_arrays
from ..withanyone_core.regions.drawn_boxes import boxes_from_json, boxes_to_json
from ..withanyone_core.regions.layout import Layout
from ..withanyone_core.regions.presets import known_places, row_layout
from . import sockets
from .images import shown_small
from .layout_sources import canvas_side, first_image

WIDGET = "WITHANYONE_BOXES"  # what the browser draws the boxes in; the value is a STRING as any other
SMALLEST_CELLS = 4
DEFAULT_PX = 1024
BACKDROP_PX = 1024


class FaceLayout(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneFaceLayout",
            display_name="Face Layout",
            category=sockets.CATEGORY,
            description="Boxes drawn by hand, one for each person's head, on the 16-pixel cells the model really uses.",
            inputs=[
                canvas_side("width"),
                canvas_side("height"),
                _boxes(),
                io.Image.Input(
                    "backdrop",
                    optional=True,
                    tooltip="Shown behind the boxes after a run, stretched to the canvas: a guide image, or a "
                    "result. It changes nothing else.",
                ),
            ],
            outputs=[
                sockets.Layout.Output("layout", display_name="layout"),
                io.Int.Output("width_px", display_name="width"),
                io.Int.Output("height_px", display_name="height"),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, boxes: str) -> bool | str:
        try:
            boxes_from_json(boxes)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, width: int, height: int, boxes: str, backdrop: torch.Tensor | None = None) -> io.NodeOutput:
        width, height = floor_to_tokens(width, height)
        layout = Layout(boxes_from_json(boxes), width, height)
        shown: dict[str, Any] = {"withanyone_canvas": [{"width": width, "height": height}]}
        if backdrop is not None:
            image = first_image(image_arrays(backdrop, "backdrop"), "backdrop")
            shown["withanyone_backdrop"] = [{"image": shown_small(cls, image, BACKDROP_PX)}]
        return io.NodeOutput(layout, width, height, ui=shown)


def _boxes() -> io.String.Input:
    entry = io.String.Input(
        "boxes",
        default=boxes_to_json(row_layout(2, DEFAULT_PX, DEFAULT_PX).boxes),
        tooltip="Drag to draw a box, drag a box or its edges to change it; Shift draws over another box, Alt leaves "
        "the 16-pixel cells. Arrows move by a cell, with Shift they resize; Delete, Ctrl+D and Ctrl+Z. "
        f"A box under {SMALLEST_CELLS} x {SMALLEST_CELLS} cells is marked: in it both eyes can fall into one cell. "
        "JSON: [x1, y1, x2, y2] of each box in fractions of the canvas.",
        socketless=True,
    )
    # ComfyUI 0.3.75 takes these for every input but not in the constructor of this one.
    entry.extra_dict |= {"widgetType": WIDGET, "cell_px": CELL_PX, "smallest_cells": SMALLEST_CELLS}
    entry.extra_dict |= {"places": known_places()}
    return entry


NODES: tuple[type[io.ComfyNode], ...] = (FaceLayout,)
