"""A Flux of ComfyUI's own classes, small enough for two processor cores."""

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams
from comfy_api.latest import io

from . import standin_sizes as sizes
from .standin_weights import fill

# How fast a pixel's own noise dies while sampling. High enough that the end image is what the blocks say.
DENOISING = 2.0

DIMENSIONS = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": sizes.POOLED,
    "context_in_dim": sizes.TEXT,
    "hidden_size": sizes.HIDDEN,
    "mlp_ratio": 4.0,
    "num_heads": sizes.HEADS,
    "depth": sizes.DOUBLE_BLOCKS,
    "depth_single_blocks": sizes.SINGLE_BLOCKS,
    "axes_dim": sizes.AXES,
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}


def standin_flux(seed: int) -> comfy.model_base.Flux:
    known = {name: value for name, value in DIMENSIONS.items() if name in FluxParams.__dataclass_fields__}
    config = comfy.supported_models.Flux({"image_model": "flux", **known})
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, device=torch.device("cpu"))
    fill(model.diffusion_model, seed)
    pass_latent_through(model.diffusion_model)
    return model.eval()


@torch.no_grad()
def pass_latent_through(flux: torch.nn.Module) -> None:
    """Lets the velocity contain the latent itself, so that its noise dies out instead of staying to the end.

    Otherwise the image is the first noise with a little more of it, and nobody could see what the adapter did.
    """
    weight = flux.img_in.weight
    weight.copy_(torch.linalg.qr(weight)[0])
    flux.final_layer.linear.weight.copy_(DENOISING * weight.T)
    flux.final_layer.adaLN_modulation[1].weight.mul_(0.1)


class StandinFlux(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StandinFlux",
            display_name="Stand-in: small random Flux",
            category="standins",
            inputs=[io.Int.Input("weights_seed", default=1)],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, weights_seed: int) -> io.NodeOutput:
        model = standin_flux(weights_seed)
        patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
        load_device = comfy.model_management.get_torch_device()
        return io.NodeOutput(patcher(model, load_device, comfy.model_management.unet_offload_device()))
