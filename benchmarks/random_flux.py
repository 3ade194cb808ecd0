"""ComfyUI's FLUX.1 with random weights made on the device: drawing 12 billion numbers on a CPU would take minutes."""

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import torch
from torch import nn
from withanyone_pack.tests.comfyui.small_flux import flux_parameters

FLUX_1 = {
    "hidden_size": 3072,
    "num_heads": 24,
    "axes_dim": [16, 56, 56],
    "context_in_dim": 4096,
    "vec_in_dim": 768,
    "depth": 19,
    "depth_single_blocks": 38,
}


def random_flux(
    sizes: dict[str, object], dtype: torch.dtype, device: torch.device, offload: torch.device | None = None
) -> comfy.model_patcher.ModelPatcher:
    """A FLUX.1 of the given size, whose weights lie on `offload` (the device itself where none is given).

    On the device "meta" it has sizes only.
    """
    config = comfy.supported_models.Flux({"image_model": "flux", **flux_parameters(sizes)})
    config.set_inference_dtype(dtype, None)
    model = comfy.model_base.Flux(config, device=device)
    model.diffusion_model.to(dtype).eval().requires_grad_(False)
    if device.type != "meta":
        fill(model.diffusion_model)
    model.to(offload or device)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload or device)


@torch.no_grad()
def fill(module: nn.Module, seed: int = 0) -> None:
    """Random matrices whose outputs are about as large as their inputs, and norms and biases that do nothing."""
    first = next(module.parameters())
    generator = torch.Generator(first.device).manual_seed(seed)
    for name, value in module.named_parameters():
        if value.ndim > 1:
            value.normal_(0, value.shape[-1] ** -0.5, generator=generator)
        else:
            value.fill_(0.0 if name.endswith("bias") else 1.0)
