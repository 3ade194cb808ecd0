"""Apply WithAnyone: people and places into a MODEL."""

import comfy.model_patcher
from comfy_api.latest import io

from ..withanyone_core.adapter.places import warn_of_unknown_places
from ..withanyone_core.adapter.strength import FROM_SLIDER, branch_weights
from ..withanyone_core.injection.comfyui.injection import Settings
from ..withanyone_core.injection.comfyui.parts import ComfyAdapter
from ..withanyone_core.injection.comfyui.socket import apply_adapter
from ..withanyone_core.regions.layout import PlacedFace
from ..withanyone_core.timing import SHAPES, Curve, Window
from . import sockets

COND, BOTH = "cond", "both"


class ApplyWithAnyone(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneApply",
            display_name="Apply WithAnyone",
            category=sockets.CATEGORY,
            description="Puts the placed people into everything this model samples. Works with any sampler node.",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The base model that the adapter was trained on: for the released ones FLUX.1-dev or "
                    "FLUX.1 Kontext, in any format ComfyUI samples itself.",
                ),
                sockets.Adapter.Input("adapter"),
                sockets.Faces.Input("faces", tooltip="From the last Place Face of the chain."),
                io.Float.Input(
                    "resemblance",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="0 keeps who the person is and leaves the appearance to the prompt (spirit); 1 follows "
                    "how the photo looks, and copies more of it (form). Adapters of one branch ignore it.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Part of the denoising at which the adapter begins to work.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Part of the denoising after which it stops.",
                ),
                io.Combo.Input(
                    "apply_to",
                    options=[COND, BOTH],
                    default=COND,
                    tooltip="Positive prompt only, or the negative prompt too. Makes no difference at cfg 1.",
                ),
                _override("id_weight", "arc (who it is)"),
                _override("siglip_weight", "sig (how the photo looks)"),
                # Widgets are added at the end only, since workflows keep their values by position.
                _factor("first_factor", "beginning"),
                _factor("last_factor", "end"),
                io.Combo.Input(
                    "curve",
                    options=list(SHAPES),
                    default=SHAPES[0],
                    optional=True,
                    tooltip="How the factor moves with sigma from the beginning to the end. A run cut in two, or a "
                    "second pass, follows it where its own sigmas are.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(
        cls,
        model: comfy.model_patcher.ModelPatcher,
        adapter: ComfyAdapter,
        faces: tuple[PlacedFace, ...],
        resemblance: float,
        start_percent: float,
        end_percent: float,
        apply_to: str,
        id_weight: float,
        siglip_weight: float,
        first_factor: float = 1.0,
        last_factor: float = 1.0,
        curve: str = SHAPES[0],
    ) -> io.NodeOutput:
        weights = branch_weights(adapter.file.shapes, resemblance, id_weight, siglip_weight)
        settings = Settings(
            weights,
            Window(start_percent, end_percent),
            Curve(first_factor, last_factor, curve),
            unconditional=apply_to == BOTH,
        )
        warn_of_unknown_places(faces, adapter.file)
        return io.NodeOutput(apply_adapter(model, adapter, faces, settings))


def _override(name: str, branch: str) -> io.Float.Input:
    return io.Float.Input(
        name,
        default=FROM_SLIDER,
        min=FROM_SLIDER,
        max=3.0,
        step=0.01,
        tooltip=f"Advanced: the weight of the {branch} branch itself; -1 takes it from the slider, 0 switches it off.",
    )


def _factor(name: str, which: str) -> io.Float.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=0.0,
        max=3.0,
        step=0.01,
        optional=True,
        tooltip=f"A factor on both weights at the {which} of the denoising, or of its part between start_percent and "
        "end_percent; in between it follows the curve.",
    )


NODES: tuple[type[io.ComfyNode], ...] = (ApplyWithAnyone,)
