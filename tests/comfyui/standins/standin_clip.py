"""CLIP-L and T5 as DualCLIPLoader makes them for Flux: ComfyUI's tokenizers, and a few thousandths of the weights."""

import comfy.sd
import comfy.text_encoders.flux
from comfy.supported_models_base import ClipTarget
from comfy_api.latest import io

from . import standin_sizes as sizes
from .standin_weights import fill

SMALL_T5 = {"d_model": sizes.TEXT, "d_ff": 128, "d_kv": 32, "num_heads": 2, "num_layers": 2}
SMALL_CLIP = {"hidden_size": sizes.POOLED, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2}


class StandinCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StandinCLIP",
            display_name="Stand-in: small random CLIP-L and T5",
            category="standins",
            inputs=[io.Int.Input("weights_seed", default=2)],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def execute(cls, weights_seed: int) -> io.NodeOutput:
        target = ClipTarget(comfy.text_encoders.flux.FluxTokenizer, comfy.text_encoders.flux.flux_clip())
        options = {"t5xxl_model_config": SMALL_T5, "clip_l_model_config": SMALL_CLIP}
        clip = comfy.sd.CLIP(target, model_options=options)
        fill(clip.cond_stage_model, weights_seed)
        return io.NodeOutput(clip)
