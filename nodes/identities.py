"""Nodes that make identities."""

from comfy.clip_vision import ClipVisionModel
from comfy_api.latest import io, ui
from torch import Tensor

from ..withanyone_core.faces.face_analysis import FaceAnalysis
from ..withanyone_core.faces.photo import image_arrays
from ..withanyone_core.faces.portrait import COMBINATIONS, NO_FACE, Choices, UsedFace, identity_from_photos
from ..withanyone_core.faces.preview import captioned_crop
from ..withanyone_core.faces.selection import RULES
from ..withanyone_core.identity import Identity
from . import sockets
from .images import images
from .siglip import siglip_encoder

BoundingBox = io.Custom("BOUNDING_BOX")  # ComfyUI's own type; `io.BoundingBox` came with 0.15


class IdentityFromPhotos(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneIdentityFromPhotos",
            display_name="Identity from Photos",
            category=sockets.CATEGORY,
            description="Makes one person's identity from one or several photos and shows the faces it used.",
            inputs=[
                io.Image.Input("photos", tooltip="One person: a photo, or a batch of photos of the same person."),
                sockets.FaceAnalysis.Input("face_analysis"),
                io.String.Input("name", default="person", tooltip="Shown in messages and previews."),
                io.Combo.Input(
                    "which_face",
                    options=list(RULES),
                    default=RULES[0],
                    tooltip="Which face of a photo with several people.",
                ),
                io.Int.Input(
                    "face_index", default=1, min=1, max=99, tooltip='For "left to right": 1 is the leftmost face.'
                ),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINATIONS),
                    default=COMBINATIONS[0],
                    tooltip="first: the first photo with a face. mean: the embeddings of all averaged, the appearance "
                    "of the first.",
                ),
                io.Combo.Input(
                    "no_face",
                    options=list(NO_FACE),
                    default=NO_FACE[0],
                    tooltip="What a photo without a face, or without the person that is asked for, does: stop with an "
                    "error, or be passed over.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="From Load SigLIP. Needed unless resemblance is 0 (spirit only).",
                ),
                sockets.Identity.Input(
                    "like",
                    optional=True,
                    tooltip='For "like this identity": the person to look for in photos with several people.',
                ),
            ],
            outputs=[
                sockets.Identity.Output(display_name="identity"),
                io.Image.Output(display_name="crops", tooltip="The used faces, 512 x 512."),
                BoundingBox.Output(display_name="box", tooltip="Where the first used face is in its photo, in pixels."),
            ],
        )

    @classmethod
    def execute(
        cls,
        photos: Tensor,
        face_analysis: FaceAnalysis,
        name: str,
        which_face: str,
        face_index: int,
        combine: str,
        no_face: str,
        clip_vision: ClipVisionModel | None = None,
        like: Identity | None = None,
    ) -> io.NodeOutput:
        choices = Choices(which_face, face_index, combine, no_face, like)
        encoder = None if clip_vision is None else siglip_encoder(clip_vision)
        identity, used = identity_from_photos(image_arrays(photos), face_analysis, name, choices, encoder)
        # As a dict, since a node has one `ui`, and its text is shown beside the images.
        shown = ui.PreviewImage(images([captioned_crop(item) for item in used]), cls=cls).as_dict()
        shown["text"] = tuple(item.description() for item in used)
        return io.NodeOutput(identity, images([item.crop for item in used]), _bounding_box(used[0]), ui=shown)


def _bounding_box(used: UsedFace) -> dict[str, int]:
    """The face's box in whole pixels, clipped to its photo."""
    height_px, width_px = used.photo.shape[:2]
    x1, x2 = (min(max(round(x), 0), width_px) for x in used.face.box_px[0::2])
    y1, y2 = (min(max(round(y), 0), height_px) for y in used.face.box_px[1::2])
    return {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}


NODES: tuple[type[io.ComfyNode], ...] = (IdentityFromPhotos,)
