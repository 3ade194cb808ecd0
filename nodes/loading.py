"""Nodes that load models from files."""

import folder_paths
from comfy_api.latest import io

from ..withanyone_core.adapter.lora import read_lora
from ..withanyone_core.faces.analysis import PROVIDERS, load_face_analysis
from ..withanyone_core.injection.comfyui.parts import ComfyAdapter
from . import folders, sockets
from .siglip import load_siglip

# At import, since the schemas below list what lies in these folders.
folders.register_model_folders()

AS_STORED, FP8 = "as stored", "fp8"
ADAPTER_FILE = "withanyone.safetensors (or another WithAnyone adapter)"
ADAPTER_LORA_FILE = "a LoRA that training wrote for this adapter"
SIGLIP_FILE = "the .safetensors file of google/siglip-base-patch16-256-i18n"


class LoadAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLoadAdapter",
            display_name="Load WithAnyone Adapter",
            category=sockets.CATEGORY,
            description="Checks an adapter file. Its parts are read when Apply WithAnyone needs them.",
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=folder_paths.get_filename_list(folders.ADAPTERS),
                    tooltip=f"A file in models/withanyone: {ADAPTER_FILE}.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=[AS_STORED, FP8],
                    default=AS_STORED,
                    tooltip="fp8 halves the memory of what runs at every step for a small loss of precision.",
                ),
            ],
            outputs=[sockets.Adapter.Output(display_name="adapter")],
        )

    @classmethod
    def validate_inputs(cls, adapter_name: str) -> bool | str:
        # An input that is named here is not checked by ComfyUI, whose message would not help.
        return folders.found(folders.ADAPTERS, adapter_name, ADAPTER_FILE)

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str, **others: object) -> str:
        # ComfyUI passes all inputs of the node, of which only the file counts here.
        return folders.stamp(folders.ADAPTERS, adapter_name, ADAPTER_FILE)

    @classmethod
    def execute(cls, adapter_name: str, dtype: str) -> io.NodeOutput:
        path = folders.model_file(folders.ADAPTERS, adapter_name, ADAPTER_FILE)
        return io.NodeOutput(ComfyAdapter.open(path, fp8=dtype == FP8))


class AddAdapterLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneAddAdapterLora",
            display_name="Add Adapter LoRA",
            category=sockets.CATEGORY,
            description="Adds a small trained file to an adapter. LoRAs of FLUX itself go through Load LoRA.",
            inputs=[
                sockets.Adapter.Input("adapter"),
                io.Combo.Input(
                    "lora_name",
                    options=folder_paths.get_filename_list(folders.ADAPTER_LORAS),
                    tooltip=f"A file in models/withanyone_loras: {ADAPTER_LORA_FILE}.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-3.0,
                    max=3.0,
                    step=0.01,
                    tooltip="1 adds it as it was trained, 0 leaves it out, below 0 it is taken away.",
                ),
            ],
            outputs=[sockets.Adapter.Output(display_name="adapter")],
        )

    @classmethod
    def validate_inputs(cls, lora_name: str) -> bool | str:
        return folders.found(folders.ADAPTER_LORAS, lora_name, ADAPTER_LORA_FILE)

    @classmethod
    def fingerprint_inputs(cls, lora_name: str, **others: object) -> str:
        return folders.stamp(folders.ADAPTER_LORAS, lora_name, ADAPTER_LORA_FILE)

    @classmethod
    def execute(cls, adapter: ComfyAdapter, lora_name: str, strength: float) -> io.NodeOutput:
        path = folders.model_file(folders.ADAPTER_LORAS, lora_name, ADAPTER_LORA_FILE)
        return io.NodeOutput(adapter.with_lora(read_lora(path, adapter.file, strength)))


class LoadFaceAnalysis(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLoadFaceAnalysis",
            display_name="Load Face Analysis",
            category=sockets.CATEGORY,
            description="Loads insightface's face detector and recognizer. Nothing is downloaded.",
            inputs=[
                io.Combo.Input(
                    "pack",
                    options=folders.face_pack_names(),
                    default=folders.DEFAULT_PACK,
                    tooltip="A folder in models/insightface/models. WithAnyone was trained with antelopev2.",
                ),
                io.Combo.Input(
                    "provider",
                    options=list(PROVIDERS),
                    default="CPU",
                    tooltip="What runs the face models. CPU always works.",
                ),
                io.Int.Input(
                    "det_size",
                    default=640,
                    min=160,
                    max=1280,
                    step=32,
                    tooltip="The photo is fitted into a square of this size to look for faces. Smaller finds faces "
                    "that fill the photo, larger finds tiny ones.",
                ),
                io.Float.Input(
                    "det_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    tooltip="Lowest score that counts as a face.",
                ),
            ],
            outputs=[sockets.FaceAnalysis.Output(display_name="face_analysis")],
        )

    @classmethod
    def fingerprint_inputs(cls, pack: str, **others: object) -> str:
        return folders.face_pack_stamp(pack)

    @classmethod
    def execute(cls, pack: str, provider: str, det_size: int, det_threshold: float) -> io.NodeOutput:
        return io.NodeOutput(load_face_analysis(folders.face_pack_dir(pack), provider, det_size, det_threshold))


class LoadSigLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneLoadSigLIP",
            display_name="Load SigLIP",
            category=sockets.CATEGORY,
            description="Loads SigLIP base for 256 pixels, a tower ComfyUI's own CLIP Vision loader does not know.",
            inputs=[
                io.Combo.Input(
                    "siglip_name",
                    options=folder_paths.get_filename_list("clip_vision"),
                    tooltip=f"A file in models/clip_vision: {SIGLIP_FILE}.",
                )
            ],
            outputs=[io.ClipVision.Output(display_name="clip_vision")],
        )

    @classmethod
    def validate_inputs(cls, siglip_name: str) -> bool | str:
        return folders.found("clip_vision", siglip_name, SIGLIP_FILE)

    @classmethod
    def fingerprint_inputs(cls, siglip_name: str) -> str:
        return folders.stamp("clip_vision", siglip_name, SIGLIP_FILE)

    @classmethod
    def execute(cls, siglip_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_siglip(folders.model_file("clip_vision", siglip_name, SIGLIP_FILE)))


NODES: tuple[type[io.ComfyNode], ...] = (LoadAdapter, AddAdapterLora, LoadFaceAnalysis, LoadSigLIP)
