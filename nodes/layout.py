"""Where people go: places on the canvas, and who stands in them."""

from typing import Any

import torch
from comfy_api.latest import io, ui

from ..withanyone_core.canvas import floor_to_tokens
from ..withanyone_core.identity import Identity
from ..withanyone_core.regions.layout import Layout, Mask, PlacedFace, parse_boxes, place_in_box, place_in_mask
from ..withanyone_core.regions.matching import best_box
from ..withanyone_core.regions.presets import preset_layout
from ..withanyone_core.regions.preview import draw_layout
from ..withanyone_core.timing import Window
from . import sockets
from .images import shown_small

BEST_MATCH = -1
# What it reports shall reach a page that was opened again, though the result itself is kept; ComfyUI can since 0.19.
REPORTS_AGAIN: dict[str, Any] = {
    name: True for name in ("has_intermediate_output",) if name in io.Schema.__dataclass_fields__
}
CROP_PX = 128  # as shown in Face Layout's canvas


class WithAnyoneLayout(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLayout",
            display_name="WithAnyone Layout",
            category=sockets.CATEGORY,
            description="Numbered boxes, one for each person's head, shown with the 16-pixel cells they really cover.",
            inputs=[
                io.Int.Input(
                    "width", default=1024, min=16, max=16384, step=16, tooltip="Width of the canvas in pixels."
                ),
                io.Int.Input(
                    "height", default=1024, min=16, max=16384, step=16, tooltip="Height of the canvas in pixels."
                ),
                io.Int.Input(
                    "people",
                    default=2,
                    min=1,
                    max=99,
                    tooltip="How many people need a place: a preset for 1 to 4, an even row for more. "
                    "Ignored as soon as boxes are written below.",
                ),
                io.Int.Input(
                    "preset_seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    tooltip="Chooses among the presets for so many people; the same number gives the same places.",
                ),
                io.String.Input(
                    "boxes",
                    default="",
                    multiline=True,
                    tooltip="Your own boxes, one a line or separated by ';': x1,y1,x2,y2, top left corner first. "
                    "Pixels, or fractions of the canvas if no number is above 1. "
                    "Empty: a preset. Otherwise these boxes are used and 'people' is ignored.",
                ),
            ],
            outputs=[
                sockets.Layout.Output("layout", display_name="layout"),
                io.Int.Output("width_px", display_name="width"),
                io.Int.Output("height_px", display_name="height"),
            ],
            is_output_node=True,  # so that it can be seen before anything is connected to it
        )

    @classmethod
    def execute(cls, width: int, height: int, people: int, preset_seed: int, boxes: str) -> io.NodeOutput:
        width, height = floor_to_tokens(width, height)
        written = parse_boxes(boxes, width, height)
        layout = Layout(written, width, height) if written else preset_layout(people, width, height, preset_seed)
        image = torch.from_numpy(draw_layout(layout) / 255.0).float()
        return io.NodeOutput(layout, width, height, ui=ui.PreviewImage(image[None], cls=cls))


class WithAnyonePlaceFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyonePlaceFace",
            display_name="Place Face",
            category=sockets.CATEGORY,
            description="Puts one person into a box of a layout or into a mask. Chain one node a person.",
            inputs=[
                sockets.Identity.Input("identity", tooltip="The person."),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    tooltip="How strongly this person is drawn compared with the others; 0 leaves the person out.",
                ),
                io.Int.Input(
                    "box",
                    default=0,
                    min=BEST_MATCH,
                    max=99,
                    tooltip="Number of the box, as shown in the layout's preview. "
                    "0: the lowest one that no earlier face of the chain took. -1: of those that are free, the one "
                    "whose face is most like this person (needs Layout from Image). Not used with a mask.",
                ),
                sockets.Layout.Input("layout", optional=True, tooltip="Places to choose from. This or a mask."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="A mask, stretched over the whole canvas. This or a layout. "
                    "It takes the 16-pixel cells that it covers at least half of.",
                ),
                sockets.Faces.Input(
                    "faces", optional=True, tooltip="The faces of the Place Face node before this one."
                ),
                _percent("start_percent", 0.0, "Part of the denoising at which this person begins to be drawn."),
                _percent("end_percent", 1.0, "Part of the denoising after which this person is left to the model."),
            ],
            outputs=[sockets.Faces.Output("placed_faces", display_name="faces")],
            **REPORTS_AGAIN,
        )

    @classmethod
    def execute(
        cls,
        identity: Identity,
        weight: float,
        box: int,
        layout: Layout | None = None,
        mask: torch.Tensor | None = None,
        faces: tuple[PlacedFace, ...] = (),
        start_percent: float = 0.0,
        end_percent: float = 1.0,
    ) -> io.NodeOutput:
        if layout is not None and mask is not None:
            raise ValueError(f"{identity.name} has both a layout and a mask; connect only one of them.")
        window = Window(start_percent, end_percent)
        if mask is not None:
            return io.NodeOutput(place_in_mask(identity, Mask.from_batch(mask), weight, faces, window))
        if layout is None:
            raise ValueError(f"{identity.name} has no place: connect a layout or a mask.")
        if box == BEST_MATCH:
            box = best_box(identity, layout, [face.box_number for face in faces])
        placed = place_in_box(identity, layout, box, weight, faces, window)
        return io.NodeOutput(placed, ui={"withanyone_placed": [_for_the_canvas(cls, placed[-1])]})


def _for_the_canvas(cls: type[io.ComfyNode], face: PlacedFace) -> dict[str, Any]:
    """Whom Face Layout's canvas shows in which box."""
    crop = (face.identity.crop * 255.0).round().byte().cpu().numpy()
    return {
        "name": face.identity.name,
        "box": face.box_number,
        "weight": face.weight,
        "crop": shown_small(cls, crop, CROP_PX),
    }


def _percent(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.001, optional=True, tooltip=tooltip)


NODES: tuple[type[io.ComfyNode], ...] = (WithAnyoneLayout, WithAnyonePlaceFace)
