"""FLUX.1's transformer as diffusers' class, from a diffusers folder or from a single file as ComfyUI users have it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn

from .block_swap import blocks_of, choose_swapped_blocks, swap_blocks
from .files import Tensors, model_folder, open_tensors
from .flux1_keys import KEYS
from .quantize import Quantization, QuantizedLinear, check_quantization, replace_linears

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")
# How a head's 128 channels are spread over FLUX.1's three coordinates; no tensor shows it.
_FLUX_1_AXES = (16, 56, 56)
# What sizes are read from.
_SIZE_KEYS = (
    "x_embedder.weight",
    "proj_out.weight",
    "context_embedder.weight",
    "time_text_embed.text_embedder.linear_1.weight",
    "transformer_blocks.0.attn.norm_q.weight",
    "single_transformer_blocks.0.proj_out.weight",
)
_REFUSED = {
    r"\.weight_scale_2$": "NVFP4",
    r"\.quant_state\.bitsandbytes__": "bitsandbytes (NF4 or FP4)",
    r"\.(qweight|wscales|proj_down)$": "Nunchaku (SVDQuant)",
}
_SCALES = (".scale_weight", ".weight_scale")
# What scaled files hold beside weights and scales, and what only quantized computing reads.
_MARKS = re.compile(r"(^|\.)(scaled_fp8|scale_input|input_scale|comfy_quant)$")


def load_flux(
    path: Path,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    quantization: Quantization | None = None,
    blocks_to_swap: int = 0,
) -> FluxTransformer2DModel:
    """A frozen transformer with gradients through its inputs only.

    path            a diffusers folder (with or without `transformer` in it), or a .safetensors file in bf16, fp16,
                    fp32, fp8 or scaled fp8, the transformer alone or a whole checkpoint
    quantization    keep the blocks' matrices quantized and dequantize them layer by layer
    blocks_to_swap  that many blocks stay in the CPU's memory (block swap)

    Raises FileNotFoundError, or ValueError for files of another kind, damaged or of an unsupported quantization, or
    with fewer blocks than are to be swapped; RuntimeError where the library that quantizes is missing.
    """
    if quantization is not None:
        check_quantization(quantization)
    device = torch.device(device)
    configuration, weights = _opened(Path(path))
    with torch.device("meta"):
        model = FluxTransformer2DModel(**configuration)
    # Before it is filled: each matrix is quantized as it is read, so the model in its full type is never in memory.
    if quantization is not None:
        replace_linears(model, quantization)
    blocks = blocks_of(model)
    layers = choose_swapped_blocks(len(blocks), blocks_to_swap)
    on_cpu = {module for layer in layers for module in blocks[layer].modules()}
    _fill(model, weights, path, dtype, device, on_cpu)
    model.train(False).requires_grad_(False)
    if layers:
        swap_blocks(model, layers, device)
    return model


def read_configuration(path: Path) -> dict[str, Any]:
    """Arguments of diffusers' class for the model of a file or folder, whose weights are not read.

    Raises as `load_flux` for what is no FLUX.1.
    """
    return _opened(Path(path))[0]


def flux_configuration(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of diffusers' class, read off shapes under diffusers' names.

    How positions are spread over a head is in no tensor: FLUX.1's 16/56/56 for heads of 128 channels, a quarter and
    twice three eighths for others (the miniature).
    """
    width, channels = shapes["x_embedder.weight"]
    head = shapes["transformer_blocks.0.attn.norm_q.weight"][0]
    return {
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_layers": _count("transformer_blocks", shapes),
        "num_single_layers": _count("single_transformer_blocks", shapes),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
        "axes_dims_rope": _FLUX_1_AXES if head == sum(_FLUX_1_AXES) else (head // 4, head * 3 // 8, head * 3 // 8),
    }


def _opened(path: Path) -> tuple[dict[str, Any], Iterator[tuple[str, Tensor]]]:
    """The arguments of the class and its tensors under diffusers' names, one after the other."""
    folder = model_folder(path, "transformer")
    tensors = open_tensors(folder)
    if folder.is_dir() and (folder / "config.json").is_file():
        known = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        # diffusers wraps __init__ to record its arguments; what else a configuration holds is no argument.
        names = set(FluxTransformer2DModel.__init__.__wrapped__.__annotations__)
        return {key: value for key, value in known.items() if key in names}, ((key, tensors[key]) for key in tensors)
    keys = _flux_keys(path, tensors)
    return flux_configuration(_shapes(path, tensors, keys)), _dequantized(path, tensors, keys)


def _flux_keys(path: Path, tensors: Tensors) -> dict[str, str]:
    """Key without prefix to key in the file, of every tensor of the transformer."""
    for pattern, quantization in _REFUSED.items():
        if any(re.search(pattern, key) for key in tensors):
            raise ValueError(
                f"{path.name} is quantized as {quantization}, which training cannot read. Use FLUX.1-dev in bf16, "
                "fp16, fp32, fp8 or scaled fp8."
            )
    prefix = next((each for each in _PREFIXES if any(key.startswith(each) for key in tensors)), "")
    keys = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
    if not any(key.startswith(("double_blocks.", "transformer_blocks.")) for key in keys):
        raise ValueError(
            f"{path.name} holds no FLUX.1 transformer: no key starts with double_blocks. or transformer_blocks. Choose "
            "the file you load with Load Diffusion Model, or a diffusers folder."
        )
    if any(key.startswith("double_stream_modulation_img.") for key in keys):
        raise ValueError(f"{path.name} is FLUX.2, which this adapter was not made for; use FLUX.1-dev.")
    return keys


def _shapes(path: Path, tensors: Tensors, keys: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Shapes under diffusers' names, without reading a value."""
    found = {}
    for name, key in _weights(keys):
        # Shapes take the way of the tensors, on meta, so that stacked matrices are split without being read.
        for renamed, part in _renamed(path, name, torch.empty(tensors.shape(key), device="meta")):
            found[renamed] = tuple(part.shape)
    missing = [key for key in _SIZE_KEYS if key not in found]
    if missing:
        raise ValueError(f"{path.name} is not a whole FLUX.1 transformer: {', '.join(missing)} is missing.")
    return found


def _dequantized(path: Path, tensors: Tensors, keys: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in dequantize_scaled(path, tensors, keys):
        yield from _renamed(path, name, tensor)


def dequantize_scaled(path: Path, tensors: Tensors, keys: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in `keys`, those that come with a scale multiplied by it, one after the other.

    Raises ValueError for scales that are neither one for a matrix nor one a row.
    """
    for name, key in _weights(keys):
        tensor = tensors[key]
        scale = next((keys[each] for each in _scale_names(name) if each in keys), None)
        yield name, tensor if scale is None else _scaled_back(path, name, tensor, tensors[scale])


def _weights(keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, key) for name, key in keys.items() if not name.endswith(_SCALES) and not _MARKS.search(name))


def _scale_names(name: str) -> tuple[str, ...]:
    return tuple(name.removesuffix(".weight") + end for end in _SCALES) if name.endswith(".weight") else ()


def _scaled_back(path: Path, name: str, weight: Tensor, scale: Tensor) -> Tensor:
    """The matrix that a scaled one stands for, float32; one scale for all or one a row."""
    if scale.numel() not in (1, weight.shape[0]):
        raise ValueError(
            f"{path.name}: {name} has scales of shape {list(scale.shape)}; expected one for the matrix or one a row."
        )
    return weight.float() * scale.float().reshape(-1, *[1] * (weight.ndim - 1))


def _renamed(path: Path, name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    if name.startswith(("double_blocks.", "single_blocks.")) or name.split(".")[0].endswith(("_in", "_layer")):
        try:
            return KEYS.to_diffusers({name: tensor}).items()
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return ((name, tensor),)


def _fill(
    model: nn.Module,
    weights: Iterator[tuple[str, Tensor]],
    path: Path,
    dtype: torch.dtype,
    device: torch.device,
    on_cpu: Set[nn.Module],
) -> None:
    """Puts the tensors into a model on the meta device, one at a time: two copies never exist.

    Those of the modules `on_cpu` stay on the CPU; the device quantizes them, which is faster.
    """
    missing = set(model.state_dict())
    for name, tensor in weights:
        owner_name, _, attribute = name.rpartition(".")
        held = model.get_submodule(owner_name)._parameters.get(attribute) if name in missing else None
        if held is None:
            raise ValueError(f"{path.name}: {name} is no tensor of a FLUX.1 transformer of this size.")
        owner = model.get_submodule(owner_name)
        expected = tuple(held.shape)
        if tuple(tensor.shape) != expected:
            raise ValueError(f"{path.name}: {name} has shape {list(tensor.shape)}, expected {list(expected)}.")
        home = torch.device("cpu") if owner in on_cpu else device
        if isinstance(owner, QuantizedLinear) and attribute == "weight":
            owner.store(tensor.to(device), home)
        else:
            setattr(owner, attribute, nn.Parameter(tensor.to(home, dtype), requires_grad=False))
        missing.discard(name)
    if missing:
        shown = ", ".join(sorted(missing)[:8])
        raise ValueError(
            f"{path.name} is not a whole FLUX.1 transformer: {len(missing)} tensors are missing ({shown})."
        )


def _count(blocks: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    return 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith(f"{blocks}."))
