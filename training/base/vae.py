"""A base model's VAE as diffusers' class, from a diffusers folder or a single file, and images encoded."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from .family import Family, Latents, Vae
from .files import Tensors, fingerprint, model_folder, open_tensors
from .registry import FAMILIES, family_of_vae, family_of_vae_keys
from .vae_keys import outside_name, stage_widths, vae_to_diffusers

_PREFIXES = ("first_stage_model.", "vae.")
_GROUP = 32  # channels are normalized in this many groups, in every VAE of this kind
_LOGVAR = (-30.0, 20.0)
_COUNT = "num_batches_tracked"


def load_vae(
    path: Path, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> tuple[Vae, Latents]:
    """A frozen VAE and the scale of its latents.

    path  a diffusers folder (with or without `vae` in it), or a .safetensors file with the VAE alone or a checkpoint

    Raises FileNotFoundError, or ValueError for anything that is no such VAE.
    """
    found = model_folder(path, "vae")
    tensors = open_tensors(found)
    keys = _plain_keys(tensors)
    family = family_of_vae_keys(keys)
    model = _of_folder(found, dtype, family) if found.is_dir() else _of_file(found, tensors, keys, dtype, family)
    _moved(model, device).train(False).requires_grad_(False)
    return model, family.latents(model, _Named(tensors, keys))


class VaeImages:
    """Encodes images for the cache.

    family       whose VAE it is
    fingerprint  SHA-256 over the files

    The VAE comes to the device with the first image.
    """

    def __init__(self, path: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self._vae, self.scale = load_vae(path, dtype)
        self.family = family_of_vae(self._vae)
        self._device = device
        self.fingerprint = fingerprint(model_folder(path, "vae"))

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """RGB uint8 [H, W, 3] to mean and log-variance of the posterior, float32 [channels, H / 8, W / 8]."""
        image = torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 0)[None].float() / 127.5 - 1
        vae = _moved(self._vae, self._device)
        (moments,) = vae.encode(cast(torch.FloatTensor, image.to(vae.device, vae.dtype)), return_dict=False)
        return moments.mean[0].float().cpu(), moments.logvar[0].float().clamp(*_LOGVAR).cpu()


class _Named(Mapping[str, Tensor]):
    """A file's tensors by other names; each is read when it is asked for."""

    def __init__(self, tensors: Tensors, keys: Mapping[str, str]) -> None:
        self._tensors, self._keys = tensors, keys

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._keys[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _moved(model: Vae, device: torch.device | str) -> Vae:
    nn.Module.to(model, device)  # in place; diffusers wraps its own `to`, which loses its type
    return model


def _plain_keys(tensors: Tensors) -> dict[str, str]:
    """Key without prefix to key in the file."""
    prefix = next((each for each in _PREFIXES if any(key.startswith(each) for key in tensors)), "")
    return {outside_name(key.removeprefix(prefix)): key for key in tensors if key.startswith(prefix)}


def _of_folder(folder: Path, dtype: torch.dtype, family: Family) -> Vae:
    try:
        return family.vae.from_pretrained(str(folder), torch_dtype=dtype, local_files_only=True)
    except OSError as error:
        raise FileNotFoundError(f"{folder} is no folder of a VAE in diffusers' form: {error}") from error


def _of_file(path: Path, tensors: Tensors, keys: Mapping[str, str], dtype: torch.dtype, family: Family) -> Vae:
    if "decoder.conv_in.weight" not in keys or "encoder.conv_in.weight" not in keys:
        files = " or ".join(each.vae_file for each in FAMILIES)
        raise ValueError(
            f"{path.name} holds no VAE: encoder.conv_in.weight or decoder.conv_in.weight is missing. Choose the file "
            f"you load with Load VAE ({files})."
        )
    state = {name: _in_type(tensors[key], dtype) for name, key in keys.items()}
    if any(name.startswith(("encoder.down.", "encoder.mid.")) for name in state):
        state = vae_to_diffusers(state)
    return _filled(path, state, family)


def _in_type(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _filled(path: Path, state: dict[str, Tensor], family: Family) -> Vae:
    widths = stage_widths(state, "encoder.down_blocks")
    first = [
        name for name in state if name.startswith("encoder.down_blocks.0.resnets.") and name.endswith("conv1.weight")
    ]
    with torch.device("meta"):
        model = family.vae(
            # diffusers says one block, and means as many as there are widths
            down_block_types=("DownEncoderBlock2D",) * len(widths),  # pyright: ignore[reportArgumentType]
            up_block_types=("UpDecoderBlock2D",) * len(widths),  # pyright: ignore[reportArgumentType]
            block_out_channels=widths,  # pyright: ignore[reportArgumentType]
            # Of the encoder; diffusers gives the decoder one more by itself.
            layers_per_block=len(first),
            latent_channels=state["decoder.conv_in.weight"].shape[1],
            norm_num_groups=_GROUP,
            use_quant_conv="quant_conv.weight" in state,
            use_post_quant_conv="post_quant_conv.weight" in state,
            **family.vae_arguments(state),
        )
    # How many batches the statistics are of: a count that nothing reads, and that files may leave out.
    state |= {name: torch.tensor(0) for name in model.state_dict() if name.endswith(_COUNT) and name not in state}
    missing = model.state_dict().keys() - state.keys()
    foreign = state.keys() - model.state_dict().keys()
    if missing or foreign:
        odd = ", ".join(sorted(missing or foreign)[:4])
        raise ValueError(
            f"{path.name} is not a whole VAE of {family.label}: {odd} {'is missing' if missing else 'is unknown'}."
        )
    model.load_state_dict(state, assign=True)
    return model
