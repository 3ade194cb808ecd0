"""ComfyUI's own FLUX.1 and FLUX.2 at a small size, in a ModelPatcher, for tests in this process.

Import after `add_comfyui()`.
"""

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams

SMALL = {
    "hidden_size": 64,
    "num_heads": 2,
    "axes_dim": [8, 12, 12],
    "depth": 2,
    "depth_single_blocks": 3,
    "context_in_dim": 96,
    "vec_in_dim": 48,
}
_FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "mlp_ratio": 4.0,
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}

_FLUX_2 = {
    "in_channels": 64,  # the same numbers a token as the FLUX.1 above, whose patches join 2 x 2 x 16
    "out_channels": 64,
    "axes_dim": [8, 8, 8, 8],
    "mlp_ratio": 3.0,
    "theta": 2000,
    "patch_size": 1,
    "vec_in_dim": None,
    "qkv_bias": False,
    "ops_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "guidance_embed": False,
    "txt_ids_dims": [3],
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}


def small_flux(
    dimensions: dict = SMALL,
    weights: dict[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    computed_in: torch.dtype | None = None,
) -> comfy.model_patcher.ModelPatcher:
    """A FLUX.1 of the given size with the given weights (keys of the bare transformer), or with seeded random ones.

    `computed_in` is the type of the activations where it differs from that of the weights (fp8).
    """
    config = comfy.supported_models.Flux({"image_model": "flux", **flux_parameters(dimensions)})
    config.set_inference_dtype(dtype, computed_in)
    return _patcher(comfy.model_base.Flux(config, device=torch.device("cpu")), weights, dtype, seed)


def small_flux2(
    dimensions: dict = SMALL,
    weights: dict[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> comfy.model_patcher.ModelPatcher:
    """A FLUX.2 of the blocks and width of a FLUX.1, whose token has as many pixels and numbers."""
    fields = {**dimensions, **_FLUX_2}
    known = {name: value for name, value in fields.items() if name in FluxParams.__dataclass_fields__}
    config = comfy.supported_models.Flux2({"image_model": "flux2", **known})
    config.set_inference_dtype(dtype, None)
    return _patcher(comfy.model_base.Flux2(config, device=torch.device("cpu")), weights, dtype, seed)


SMALL_BASES = {"flux.1": small_flux, "flux.2": small_flux2}


def flux_parameters(dimensions: dict = SMALL) -> dict:
    """Arguments of a Flux class of this size, as far as this ComfyUI's version knows them."""
    fields = {**_FLUX, **dimensions}
    return {name: value for name, value in fields.items() if name in FluxParams.__dataclass_fields__}


def _patcher(
    model: comfy.model_base.Flux, weights: dict[str, torch.Tensor] | None, dtype: torch.dtype, seed: int
) -> comfy.model_patcher.ModelPatcher:
    model.diffusion_model.load_state_dict(
        _as_named_here(weights, model.diffusion_model) if weights else _random_weights(model.diffusion_model, seed)
    )
    model.diffusion_model.to(dtype).eval()
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def _as_named_here(weights: dict[str, torch.Tensor], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """ComfyUI 0.14 renamed the scales of query and key norms to weights."""
    known = module.state_dict()
    renamed = {key: key.replace("_norm.scale", "_norm.weight") for key in weights}
    return {key if key in known else renamed[key]: value for key, value in weights.items()}


def _random_weights(module: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in module.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        weights[name] = noise / value.shape[-1] ** 0.5 if value.ndim > 1 else 1 + 0.1 * noise
        if name.endswith("bias"):
            weights[name] = 0.1 * noise
    return weights
