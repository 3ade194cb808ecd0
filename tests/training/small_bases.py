"""Every base model at a small size, in ComfyUI's class and in diffusers', with the same random weights.

Import after `add_comfyui()` and `add_training()`. All are of one width and number of blocks, so that one adapter fits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from torch import Tensor, nn
from withanyone_pack.tests.comfyui.small_flux import SMALL, SMALL_BASES

from training.base import flux1_keys, flux2_keys
from training.base.flux1 import image_positions
from training.base.key_table import KeyTable

ROWS, COLUMNS, TEXT, CHANNELS = 8, 10, 6, 64
_HEADS, _TEXT_WIDTH, _POOLED = SMALL["num_heads"], SMALL["context_in_dim"], SMALL["vec_in_dim"]
_SIZES = {
    "num_layers": SMALL["depth"],
    "num_single_layers": SMALL["depth_single_blocks"],
    "attention_head_dim": SMALL["hidden_size"] // _HEADS,
    "num_attention_heads": _HEADS,
    "joint_attention_dim": _TEXT_WIDTH,
}


@dataclass(frozen=True)
class SmallBase:
    """A base model.

    class_     diffusers' class, and its arguments
    own_input  what its transformer is given beside the common arguments, by the number of samples
    """

    name: str
    keys: KeyTable
    class_: type[nn.Module]
    arguments: Mapping[str, Any]
    own_input: Callable[[int, torch.Generator], Mapping[str, Tensor]]

    def comfyui(self) -> nn.Module:
        """ComfyUI's module."""
        return SMALL_BASES[self.name]().model.diffusion_model

    def transformer(self, dtype: torch.dtype = torch.float32) -> Any:
        """diffusers' model with the weights of ComfyUI's, frozen."""
        model = self.class_(in_channels=CHANNELS, **_SIZES, **self.arguments)
        model.load_state_dict(self.keys.to_diffusers(self.comfyui().state_dict()))
        return model.to(dtype).eval().requires_grad_(False)

    def inputs(self, batch: int, seed: int = 7, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        """Arguments of diffusers' transformer for so many samples of `ROWS` x `COLUMNS` image tokens."""
        generator = torch.Generator().manual_seed(seed)
        image = torch.randn(batch, ROWS * COLUMNS, CHANNELS, generator=generator)
        text = torch.randn(batch, TEXT, _TEXT_WIDTH, generator=generator)
        own = self.own_input(batch, generator)
        return {
            "hidden_states": image.to(dtype),
            "encoder_hidden_states": text.to(dtype),
            "timestep": torch.full((batch,), 0.4, dtype=dtype),
            **{name: value.to(dtype) if value.ndim and "ids" not in name else value for name, value in own.items()},
        }


def _flux_1_input(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "pooled_projections": torch.randn(batch, _POOLED, generator=generator),
        "guidance": torch.ones(batch),
        "img_ids": image_positions(ROWS, COLUMNS),
        "txt_ids": torch.zeros(TEXT, 3),
    }


def _flux_2_input(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    image = nn.functional.pad(image_positions(ROWS, COLUMNS), (0, 1))
    return {"img_ids": image, "txt_ids": nn.functional.pad(torch.arange(float(TEXT))[:, None], (3, 0))}


BASES = {
    base.name: base
    for base in (
        SmallBase(
            "flux.1",
            flux1_keys.KEYS,
            FluxTransformer2DModel,
            {
                "pooled_projection_dim": _POOLED,
                "guidance_embeds": True,
                "axes_dims_rope": tuple(SMALL["axes_dim"]),
            },
            _flux_1_input,
        ),
        SmallBase(
            "flux.2",
            flux2_keys.KEYS,
            Flux2Transformer2DModel,
            {"guidance_embeds": False, "axes_dims_rope": (8, 8, 8, 8), "mlp_ratio": 3.0},
            _flux_2_input,
        ),
    )
}
