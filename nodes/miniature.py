"""The miniature's shipped models and people as nodes: small, drawn, and free, in place of FLUX.1 and of photographs."""

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..miniature.weights_folder import ADAPTER, CLIP, CLIP_WORDS, FACES, FLUX, SIGLIP, T5, T5_WORDS, VAE_FILE, shipped
from ..miniature.world.person import person_of
from ..miniature.world.renderer import render
from ..miniature.world.scene import draw_portrait
from ..withanyone_core.faces.analysis import load_face_analysis
from ..withanyone_core.files.digest import files_stamp
from ..withanyone_core.injection.comfyui.parts import ComfyAdapter
from . import miniature_models, sockets
from .siglip import siglip_tower

CATEGORY = f"{sockets.CATEGORY}/miniature"
DETECTION_PX = 320
DETECTION_THRESHOLD = 0.5
PHOTO_PX = 256
MOST_PEOPLE = 2_000_000


class MiniatureFlux(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniatureFlux",
            display_name="Miniature FLUX",
            category=CATEGORY,
            description="The small base model that comes with the pack, in FLUX.1's place. Generates 176 x 176 pixels.",
            inputs=[],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return _stamp(FLUX)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(miniature_models.image_model())


class MiniatureCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniatureCLIP",
            display_name="Miniature CLIP",
            category=CATEGORY,
            description="The small text encoders that come with the pack, in the place of T5 and CLIP. They know "
            "the few dozen words of the miniature world.",
            inputs=[],
            outputs=[io.Clip.Output(display_name="clip")],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return _stamp(CLIP, T5, CLIP_WORDS, T5_WORDS)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(miniature_models.text_encoders())


class MiniatureVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniatureVAE",
            display_name="Miniature VAE",
            category=CATEGORY,
            description="The small VAE that comes with the pack, with 8 latent channels, in the place of FLUX.1's.",
            inputs=[],
            outputs=[io.Vae.Output(display_name="vae")],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return _stamp(VAE_FILE)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(miniature_models.vae())


class MiniatureAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniatureAdapter",
            display_name="Miniature Adapter",
            category=CATEGORY,
            description="The small adapter that comes with the pack and puts drawn people into the miniature's "
            "images, in the place of WithAnyone's.",
            inputs=[],
            outputs=[sockets.Adapter.Output(display_name="adapter")],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return _stamp(ADAPTER)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(ComfyAdapter.open(shipped(ADAPTER)))


class MiniatureFaceAnalysis(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniatureFaceAnalysis",
            display_name="Miniature Face Analysis",
            category=CATEGORY,
            description="The small face detector and recognizer that come with the pack, for drawn faces only.",
            inputs=[],
            outputs=[sockets.FaceAnalysis.Output(display_name="face_analysis")],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return _stamp(FACES)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(load_face_analysis(shipped(FACES), "CPU", DETECTION_PX, DETECTION_THRESHOLD))


class MiniatureSigLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniatureSigLIP",
            display_name="Miniature SigLIP",
            category=CATEGORY,
            description="The small patch encoder that comes with the pack, in SigLIP's place, for drawn faces only.",
            inputs=[],
            outputs=[io.ClipVision.Output(display_name="clip_vision")],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return _stamp(SIGLIP)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(siglip_tower(miniature_models.weights_of(SIGLIP), SIGLIP))


class MiniaturePhotos(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMiniaturePhotos",
            display_name="Miniature Photos",
            category=CATEGORY,
            description="Draws photos of a person of the miniature world, each with another expression, pose and "
            "light.",
            inputs=[
                io.Int.Input(
                    "person",
                    default=1_000_001,
                    min=0,
                    max=MOST_PEOPLE - 1,
                    tooltip="Who. The same number is always the same person; those below 1000000 are the ones the "
                    "miniature models were trained on.",
                ),
                io.Int.Input("photos", default=1, min=1, max=64, tooltip="How many photos of this person to draw."),
                io.Int.Input(
                    "series", default=0, min=0, max=2**32 - 1, tooltip="Which photos: another number, others."
                ),
            ],
            outputs=[io.Image.Output(display_name="photos")],
        )

    @classmethod
    def execute(cls, person: int, photos: int, series: int) -> io.NodeOutput:
        generators = [np.random.default_rng([series, photo, person]) for photo in range(photos)]
        portraits = [draw_portrait(generator, person_of(person)) for generator in generators]
        pixels = np.stack([render(portrait, PHOTO_PX, PHOTO_PX).pixels for portrait in portraits])
        images = torch.from_numpy(pixels).float() / 255
        return io.NodeOutput(images, ui=ui.PreviewImage(images, cls=cls))


def _stamp(*names: str) -> str:
    """Changes with the content of shipped files and of those in shipped folders."""
    places = [shipped(name) for name in names]
    return files_stamp(file for place in places for file in (place, *place.rglob("*")) if file.is_file())


NODES = (
    MiniatureFlux,
    MiniatureCLIP,
    MiniatureVAE,
    MiniatureAdapter,
    MiniatureFaceAnalysis,
    MiniatureSigLIP,
    MiniaturePhotos,
)
