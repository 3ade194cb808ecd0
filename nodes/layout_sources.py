"""Other ways to say where: the faces of a guide image, other nodes' boxes; and an image of who stands where."""

import logging
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..withanyone_core.canvas import CELL_PX, check_canvas, floor_to_tokens
from ..withanyone_core.faces.face_analysis import FaceAnalysis
from ..withanyone_core.faces.photo import image_arrays
from ..withanyone_core.faces.portrait import croppable_faces
from ..withanyone_core.faces.selection import NoFace
from ..withanyone_core.regions.box_formats import NUMBERS, boxes_from
from ..withanyone_core.regions.cells import Grid
from ..withanyone_core.regions.faces_preview import draw_faces
from ..withanyone_core.regions.guide import FITS, ORDERS, Fit, layout_from_faces
from ..withanyone_core.regions.layout import Layout, PlacedFace
from ..withanyone_core.regions.ownership import ownership_text
from ..withanyone_core.regions.preview import draw_layout
from . import sockets
from .identities import BoundingBox
from .images import images

LOGGER = logging.getLogger("withanyone")
BoundingBoxes = io.Custom("BOUNDING_BOXES")  # ComfyUI's canvas of boxes; `io.BoundingBoxes` came with 0.27
LARGEST_PX = 16384


class LayoutFromImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLayoutFromImage",
            display_name="Layout from Image",
            category=sockets.CATEGORY,
            description="A box for each face of a guide image, scaled to the canvas. Place Face can choose the box "
            "whose face is most like a person (box -1).",
            inputs=[
                io.Image.Input(
                    "image", tooltip="The guide image. Only its faces' places are used, not its appearance."
                ),
                sockets.FaceAnalysis.Input("face_analysis"),
                canvas_side("width"),
                canvas_side("height"),
                io.Combo.Input(
                    "order", options=list(ORDERS), default=ORDERS[0], tooltip="Which face becomes box 1, 2 and so on."
                ),
                io.Int.Input(
                    "max_people",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="Keeps the first so many faces of the order; 0 keeps all.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default=FITS[0],
                    tooltip="Where image and canvas differ in proportions. crop to fill: proportions are kept and "
                    "both sides, or top and bottom, are cut equally; faces cut off are reported. stretch: everybody "
                    "stays, but boxes change their proportions.",
                ),
            ],
            outputs=_layout_outputs(),
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        face_analysis: FaceAnalysis,
        width: int,
        height: int,
        order: str,
        max_people: int,
        fit: str,
    ) -> io.NodeOutput:
        canvas_px = floor_to_tokens(width, height)
        guide = first_image(image_arrays(image, "image"), "image")
        guide_px = guide.shape[1], guide.shape[0]
        try:
            faces = croppable_faces(guide, "the guide image", face_analysis)
        except NoFace as error:
            raise ValueError(f"{error} {error.advice}") from error
        fitted = Fit.of(fit, guide_px, canvas_px)
        face_model = getattr(face_analysis, "model_name", "")
        found = layout_from_faces(faces, guide_px, canvas_px, order, max_people, fitted, face_model)
        for remark in found.remarks:
            LOGGER.warning("%s", remark)
        preview = draw_layout(found.layout, fitted.image(guide, canvas_px))
        return _layout_output(cls, found.layout, preview, found.remarks)


class LayoutFromBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLayoutFromBoxes",
            display_name="Layout from Boxes",
            category=sockets.CATEGORY,
            description="A layout from boxes that other nodes drew or found.",
            inputs=[
                io.MultiType.Input(
                    "boxes",
                    types=[BoundingBox, io.BBOX, io.SEGS, io.String, BoundingBoxes],
                    tooltip="ComfyUI's bounding boxes, KJNodes' BBOX, Impact Pack's SEGS, or text: x1,y1,x2,y2, one "
                    "box a line. Pixels, or fractions of the canvas if no number is above 1. "
                    "Of several frames the first is used.",
                ),
                canvas_side("width", " The boxes are measured in it too, except SEGS, which know their own image."),
                canvas_side("height"),
                io.Combo.Input(
                    "numbers",
                    options=list(NUMBERS),
                    default=NUMBERS[0],
                    tooltip="What the four numbers of a BBOX mean; the other kinds say it themselves.",
                ),
            ],
            outputs=_layout_outputs(),
            is_output_node=True,
        )

    @classmethod
    def execute(cls, boxes: Any, width: int, height: int, numbers: str) -> io.NodeOutput:
        width, height = floor_to_tokens(width, height)
        layout = Layout(boxes_from(boxes, width, height, numbers), width, height)
        return _layout_output(cls, layout, draw_layout(layout))


class PreviewFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyonePreviewFaces",
            display_name="Preview Faces",
            category=sockets.CATEGORY,
            description="Who stands where: the cells each person owns, their crops, and how much they overlap.",
            inputs=[
                sockets.Faces.Input("faces", tooltip="From the last Place Face of the chain."),
                canvas_side("width", " 0: as the layout, else as the image.", 0),
                canvas_side("height", " 0: as the layout, else as the image.", 0),
                io.Image.Input("image", optional=True, tooltip="Drawn behind the places, stretched to the canvas."),
            ],
            outputs=[
                io.Image.Output("preview", display_name="preview"),
                io.String.Output("overlap", display_name="text", tooltip="The same as text."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, faces: tuple[PlacedFace, ...], width: int, height: int, image: Tensor | None = None
    ) -> io.NodeOutput:
        behind = None if image is None else first_image(image_arrays(image, "image"), "image")
        layout = next((face.layout for face in faces if face.layout is not None), None)
        known = (1024, 1024) if behind is None else (behind.shape[1], behind.shape[0])
        known = known if layout is None else (layout.width_px, layout.height_px)
        width, height = floor_to_tokens(width or known[0], height or known[1])
        check_canvas(width, height)
        grid = Grid(width // CELL_PX, height // CELL_PX, width, height)
        preview, text = images([draw_faces(faces, grid, behind)]), ownership_text(faces, grid)
        shown = ui.PreviewImage(preview, cls=cls).as_dict()
        shown["text"] = (text,)
        return io.NodeOutput(preview, text, ui=shown)


def canvas_side(name: str, more: str = "", default: int = 1024) -> io.Int.Input:
    tooltip = f"{name.capitalize()} of the canvas in pixels.{more}"
    # A default of 0 is allowed where it means that the size is taken from elsewhere.
    return io.Int.Input(name, default=default, min=min(default, CELL_PX), max=LARGEST_PX, step=CELL_PX, tooltip=tooltip)


def _layout_outputs() -> list[io.Output]:
    return [
        sockets.Layout.Output("layout", display_name="layout"),
        io.Int.Output("width_px", display_name="width"),
        io.Int.Output("height_px", display_name="height"),
        io.Int.Output("people", display_name="people", tooltip="How many boxes there are."),
    ]


def _layout_output(cls: type[io.ComfyNode], layout: Layout, image: Any, remarks: tuple[str, ...] = ()) -> io.NodeOutput:
    shown = ui.PreviewImage(images([image]), cls=cls).as_dict()
    shown["text"] = remarks
    return io.NodeOutput(layout, layout.width_px, layout.height_px, len(layout.boxes), ui=shown)


def first_image(batch: tuple[Any, ...], name: str) -> Any:
    first, *others = batch
    if others:
        LOGGER.warning("%s: the first of %d images is used.", name, len(batch))
    return first


NODES: tuple[type[io.ComfyNode], ...] = (LayoutFromImage, LayoutFromBoxes, PreviewFaces)
