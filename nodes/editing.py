"""Prepare Face Edit: an image for FLUX.1 Kontext and the Ke adapter to give new faces."""

from comfy_api.latest import io, ui
from torch import Tensor

from ..withanyone_core.faces.face_analysis import FaceAnalysis
from ..withanyone_core.faces.photo import image_arrays
from ..withanyone_core.faces.selection import faces_by_number
from ..withanyone_core.faces.turning import turning_hint
from ..withanyone_core.regions.editing import SMALLEST_FACE_PX, prepare_edit
from . import sockets
from .images import images


class PrepareFaceEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyonePrepareFaceEdit",
            display_name="Prepare Face Edit",
            category=sockets.CATEGORY,
            description="Blurs the faces to be replaced and returns where they are. For FLUX.1 Kontext with a Ke "
            "adapter: encode the image, connect it by ReferenceLatent, and sample an empty latent of this size.",
            inputs=[
                io.Image.Input("image", tooltip="The image whose faces are to change."),
                sockets.FaceAnalysis.Input("face_analysis"),
                io.String.Input(
                    "which_faces",
                    default="",
                    tooltip="Numbers of the faces to change, counted from the left: 1,3. Empty: all of them. "
                    "Box 1 of the layout is the first of these.",
                ),
                io.Int.Input(
                    "smallest_px",
                    default=SMALLEST_FACE_PX,
                    min=0,
                    max=4096,
                    tooltip="Faces under this size are not blurred, as in the released program, and change less.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="To VAE Encode and ReferenceLatent."),
                sockets.Layout.Output(display_name="layout"),
                io.Int.Output("width_px", display_name="width"),
                io.Int.Output("height_px", display_name="height"),
                io.Int.Output("faces_found", display_name="faces"),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, face_analysis: FaceAnalysis, which_faces: str, smallest_px: int) -> io.NodeOutput:
        photo, *others = image_arrays(image, "image")
        if others:
            raise ValueError(f"image holds {1 + len(others)} images; a face edit takes one. Choose it with an index.")
        found = face_analysis.faces(photo)
        if not found and (hint := turning_hint(photo, face_analysis)):
            raise ValueError(f"The image to edit shows no face as it is.{hint}")
        faces = faces_by_number(found, which_faces)
        edit = prepare_edit(photo, faces, smallest_px, "The image to edit")
        edited = images([edit.image])
        shown = ui.PreviewImage(edited, cls=cls).as_dict()
        if edit.sharp:
            numbers = ", ".join(map(str, edit.sharp))
            shown["text"] = (f"Left sharp, being smaller than {smallest_px} pixels: face {numbers}",)
        return io.NodeOutput(
            edited, edit.layout, edit.layout.width_px, edit.layout.height_px, len(edit.layout.boxes), ui=shown
        )


NODES: tuple[type[io.ComfyNode], ...] = (PrepareFaceEdit,)
