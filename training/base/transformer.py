"""A transformer as diffusers' class, from a diffusers folder or from a single file as ComfyUI users have it.

Which base model it is, its tensors tell.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

import torch
from torch import Tensor, nn

from .block_swap import blocks_of, choose_swapped_blocks, swap_blocks
from .family import Architecture, Family, Transformer
from .files import Tensors, model_folder, open_tensors
from .flux1 import FLUX_1
from .quantize import Quantization, QuantizedLinear, check_quantization, replace_linears
from .registry import FAMILIES, family_of_keys
from .scaled import dequantize_scaled, weights_of

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")
_REFUSED = {
    r"\.weight_scale_2$": "NVFP4",
    r"\.quant_state\.bitsandbytes__": "bitsandbytes (NF4 or FP4)",
    r"\.(qweight|wscales|proj_down)$": "Nunchaku (SVDQuant)",
}


def load_transformer(
    path: Path,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    quantization: Quantization | None = None,
    blocks_to_swap: int = 0,
) -> Transformer:
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
    architecture, weights = _opened(Path(path))
    with torch.device("meta"):
        model = architecture.make()
    # Before it is filled: each matrix is quantized as it is read, so the model in its full type is never in memory.
    if quantization is not None:
        replace_linears(model, quantization)
    blocks = blocks_of(model)
    layers = choose_swapped_blocks(len(blocks), blocks_to_swap)
    on_cpu = {module for layer in layers for module in blocks[layer].modules()}
    _fill(model, weights, architecture.family.label, path, dtype, device, on_cpu)
    model.train(False).requires_grad_(False)
    if layers:
        swap_blocks(model, layers, device)
    return model


def read_architecture(path: Path) -> Architecture:
    """The model of a file or folder, whose weights are not read.

    Raises as `load_transformer` for what is none.
    """
    return _opened(Path(path))[0]


def _opened(path: Path) -> tuple[Architecture, Iterator[tuple[str, Tensor]]]:
    """The class with its arguments, and its tensors under diffusers' names, one after the other."""
    folder = model_folder(path, "transformer")
    tensors = open_tensors(folder)
    if folder.is_dir() and (folder / "config.json").is_file():
        family = family_of_keys(tensors) or FLUX_1
        known = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        # diffusers wraps __init__ to record its arguments; what else a configuration holds is no argument.
        names = set(family.transformer.__init__.__wrapped__.__annotations__)
        arguments = {key: value for key, value in known.items() if key in names}
        return Architecture(family, arguments), ((key, tensors[key]) for key in tensors)
    keys = _transformer_keys(path, tensors)
    family = family_of_keys(keys) or FLUX_1
    architecture = Architecture(family, family.arguments(_shapes(path, tensors, keys, family)))
    return architecture, _dequantized(path, tensors, keys, family)


def _transformer_keys(path: Path, tensors: Tensors) -> dict[str, str]:
    """Key without prefix to key in the file, of every tensor of the transformer."""
    for pattern, quantization in _REFUSED.items():
        if any(re.search(pattern, key) for key in tensors):
            raise ValueError(
                f"{path.name} is quantized as {quantization}, which training cannot read. Use the same model in bf16, "
                "fp16, fp32, fp8 or scaled fp8."
            )
    prefix = next((each for each in _PREFIXES if any(key.startswith(each) for key in tensors)), "")
    keys = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
    if not any(key.startswith(("double_blocks.", "transformer_blocks.")) for key in keys):
        known = " or ".join(family.label for family in FAMILIES)
        raise ValueError(
            f"{path.name} holds no {known} transformer: no key starts with double_blocks. or transformer_blocks. "
            "Choose the file you load with Load Diffusion Model, or a diffusers folder."
        )
    return keys


def _shapes(path: Path, tensors: Tensors, keys: Mapping[str, str], family: Family) -> dict[str, tuple[int, ...]]:
    """Shapes under diffusers' names, without reading a value."""
    found = {}
    for name, key in weights_of(keys):
        # Shapes take the way of the tensors, on meta, so that stacked matrices are split without being read.
        for renamed, part in _renamed(path, name, torch.empty(tensors.shape(key), device="meta"), family):
            found[renamed] = tuple(part.shape)
    missing = [key for key in family.size_keys if key not in found]
    if missing:
        raise ValueError(f"{path.name} is not a whole {family.label} transformer: {', '.join(missing)} is missing.")
    return found


def _dequantized(path: Path, tensors: Tensors, keys: Mapping[str, str], family: Family) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in dequantize_scaled(path, tensors, keys):
        yield from _renamed(path, name, tensor, family)


def _renamed(path: Path, name: str, tensor: Tensor, family: Family) -> Iterable[tuple[str, Tensor]]:
    if family.keys.is_stacked_name(name):
        try:
            return family.keys.to_diffusers({name: tensor}).items()
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return ((name, tensor),)


def _fill(
    model: nn.Module,
    weights: Iterator[tuple[str, Tensor]],
    label: str,
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
            raise ValueError(f"{path.name}: {name} is no tensor of a {label} transformer of this size.")
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
            f"{path.name} is not a whole {label} transformer: {len(missing)} tensors are missing ({shown})."
        )
