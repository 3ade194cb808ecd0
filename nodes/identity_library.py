"""Nodes that keep identities: saved to files, loaded again, and mixed."""

import numpy as np
from comfy_api.latest import io, ui

from ..withanyone_core.files.digest import file_stamp
from ..withanyone_core.identities.identity_file import load_identity, save_identity
from ..withanyone_core.identities.merging import merge
from ..withanyone_core.identity import Identity
from . import sockets
from .identity_files import FOLDER, NAME, free_path, identity_names, identity_path
from .images import images


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneSaveIdentity",
            display_name="Save Identity",
            category=sockets.CATEGORY,
            description="Writes a person to one .safetensors file: photos and face models are not needed again.",
            inputs=[
                sockets.Identity.Input("identity"),
                io.String.Input(
                    "filename_prefix",
                    default=NAME,
                    tooltip=f"Below output/{FOLDER}. {NAME} is the person's name; a number is added, and nothing is "
                    "ever overwritten.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, identity: Identity, filename_prefix: str) -> io.NodeOutput:
        path = free_path(filename_prefix, identity.name)
        save_identity(identity, path)
        shown = _crop_shown(cls, identity)
        shown["text"] = (f"{identity.name} saved as {path}",)
        return io.NodeOutput(ui=shown)


class LoadIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLoadIdentity",
            display_name="Load Identity",
            category=sockets.CATEGORY,
            description="Reads a person saved by Save Identity. Needs no photo, face model or SigLIP.",
            inputs=[
                io.Combo.Input(
                    "identity_file",
                    options=identity_names(),
                    tooltip=f"A file in input/{FOLDER} or output/{FOLDER}.",
                )
            ],
            outputs=[
                sockets.Identity.Output(display_name="identity"),
                io.Image.Output(display_name="crop", tooltip="The face crop it was made from, 512 x 512."),
            ],
        )

    @classmethod
    def validate_inputs(cls, identity_file: str) -> bool | str:
        try:
            identity_path(identity_file)
        except (ValueError, FileNotFoundError) as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, identity_file: str) -> str:
        return file_stamp(identity_path(identity_file))

    @classmethod
    def execute(cls, identity_file: str) -> io.NodeOutput:
        identity = load_identity(identity_path(identity_file))
        shown = _crop_shown(cls, identity)
        shown["text"] = (", ".join(filter(None, (identity.name, identity.made_from, identity.face_model))),)
        return io.NodeOutput(identity, images([_image(identity)]), ui=shown)


class MergeIdentities(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneMergeIdentities",
            display_name="Merge Identities",
            category=sockets.CATEGORY,
            description="A person between two. Chain several nodes to mix more.",
            inputs=[
                sockets.Identity.Input("identity_a", tooltip="Gives the appearance (SigLIP tokens and crop) too."),
                sockets.Identity.Input("identity_b"),
                io.Float.Input(
                    "weight",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Weight of identity_b in the face embedding: 0 is identity_a only, 1 identity_b only.",
                ),
                io.String.Input("name", default="", tooltip="Empty: the name of identity_a."),
            ],
            outputs=[sockets.Identity.Output(display_name="identity")],
        )

    @classmethod
    def execute(cls, identity_a: Identity, identity_b: Identity, weight: float, name: str) -> io.NodeOutput:
        return io.NodeOutput(merge(identity_a, identity_b, weight, name))


def _image(identity: Identity) -> np.ndarray:
    return (identity.crop * 255.0).round().byte().numpy()


def _crop_shown(cls: type[io.ComfyNode], identity: Identity) -> dict:
    return ui.PreviewImage(images([_image(identity)]), cls=cls).as_dict()


NODES: tuple[type[io.ComfyNode], ...] = (SaveIdentity, LoadIdentity, MergeIdentities)
