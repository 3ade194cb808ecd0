"""FLUX.1's VAE as diffusers' class, from a diffusers folder or a single file (ae.safetensors), and images encoded."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from ..losses.flow import LatentScale
from .files import fingerprint, model_folder, open_tensors
from .vae_keys import vae_to_diffusers

_PREFIXES = ("first_stage_model.", "vae.")
_GROUP = 32  # channels are normalized in this many groups, in every VAE of this kind
_LOGVAR = (-30.0, 20.0)


def load_vae(
    path: Path, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> tuple[AutoencoderKL, LatentScale]:
    """A frozen VAE and the scale of its latents.

    path  a diffusers folder (with or without `vae` in it), or a .safetensors file with the VAE alone or a checkpoint

    Raises FileNotFoundError, or ValueError for anything that is no such VAE.
    """
    found = model_folder(path, "vae")
    model = _of_folder(found, dtype) if found.is_dir() else _of_file(found, dtype)
    _moved(model, device).train(False).requires_grad_(False)
    # Older VAEs in diffusers have a scale and no shift.
    return model, LatentScale(model.config["scaling_factor"], model.config["shift_factor"] or 0.0)


class VaeImages:
    """Encodes images for the cache.

    fingerprint  SHA-256 over the files

    The VAE comes to the device with the first image.
    """

    def __init__(self, path: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self._vae, self.scale = load_vae(path, dtype)
        self._device = device
        self.fingerprint = fingerprint(model_folder(path, "vae"))

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """RGB uint8 [H, W, 3] to mean and log-variance of the posterior, float32 [channels, H / 8, W / 8]."""
        image = torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 0)[None].float() / 127.5 - 1
        vae = _moved(self._vae, self._device)
        (moments,) = vae.encode(cast(torch.FloatTensor, image.to(vae.device, vae.dtype)), return_dict=False)
        return moments.mean[0].float().cpu(), moments.logvar[0].float().clamp(*_LOGVAR).cpu()


def _moved(model: AutoencoderKL, device: torch.device | str) -> AutoencoderKL:
    nn.Module.to(model, device)  # in place; diffusers wraps its own `to`, which loses its type
    return model


def _of_folder(folder: Path, dtype: torch.dtype) -> AutoencoderKL:
    try:
        return AutoencoderKL.from_pretrained(str(folder), torch_dtype=dtype, local_files_only=True)
    except OSError as error:
        raise FileNotFoundError(f"{folder} is no folder of a VAE in diffusers' form: {error}") from error


def _of_file(path: Path, dtype: torch.dtype) -> AutoencoderKL:
    tensors = open_tensors(path)
    prefix = next((each for each in _PREFIXES if any(key.startswith(each) for key in tensors)), "")
    keys = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
    if "decoder.conv_in.weight" not in keys or "encoder.conv_in.weight" not in keys:
        raise ValueError(
            f"{path.name} holds no VAE: encoder.conv_in.weight or decoder.conv_in.weight is missing. Choose the file "
            "you load with Load VAE (ae.safetensors)."
        )
    state = {name: tensors[key].to(dtype) for name, key in keys.items()}
    if any(name.startswith(("encoder.down.", "encoder.mid.")) for name in state):
        state = vae_to_diffusers(state)
    return _filled(path, state)


def _filled(path: Path, state: dict[str, Tensor]) -> AutoencoderKL:
    widths = []
    while (name := f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight") in state:
        widths.append(state[name].shape[0])
    first = [
        name for name in state if name.startswith("encoder.down_blocks.0.resnets.") and name.endswith("conv1.weight")
    ]
    scale = LatentScale()
    with torch.device("meta"):
        model = AutoencoderKL(
            # diffusers says one block, and means as many as there are widths
            down_block_types=("DownEncoderBlock2D",) * len(widths),  # pyright: ignore[reportArgumentType]
            up_block_types=("UpDecoderBlock2D",) * len(widths),  # pyright: ignore[reportArgumentType]
            block_out_channels=tuple(widths),
            # Of the encoder; diffusers gives the decoder one more by itself.
            layers_per_block=len(first),
            latent_channels=state["decoder.conv_in.weight"].shape[1],
            norm_num_groups=_GROUP,
            scaling_factor=scale.scale,
            shift_factor=scale.shift,
            use_quant_conv="quant_conv.weight" in state,
            use_post_quant_conv="post_quant_conv.weight" in state,
        )
    missing = model.state_dict().keys() - state.keys()
    foreign = state.keys() - model.state_dict().keys()
    if missing or foreign:
        odd = ", ".join(sorted(missing or foreign)[:4])
        raise ValueError(
            f"{path.name} is not a whole VAE of FLUX.1: {odd} {'is missing' if missing else 'is unknown'}."
        )
    model.load_state_dict(state, assign=True)
    return model
