"""Names of FLUX.1's tensors: as Black Forest Labs and ComfyUI write them, and as diffusers does.

Every tensor of the former is one tensor of the latter or several of them stacked, so that both ways are exact and work
on any part of a model. Pure functions on state dicts; no value is computed.
"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

# Hidden widths a single block's first matrix makes: queries, keys, values, and four for the MLP.
_SINGLE_PARTS, _MLP_RATIO = 3, 4
_TOP = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
_DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
_BLOCKS = {"double_blocks": ("transformer_blocks", _DOUBLE), "single_blocks": ("single_transformer_blocks", _SINGLE)}
# shift, scale there; scale, shift here
_SWAPPED = "norm_out.linear"
_STACKED_NAME = re.compile(r"^(double_blocks|single_blocks)\.(\d+)\.(.+)$")
_DIFFUSERS_NAME = re.compile(r"^(transformer_blocks|single_transformer_blocks)\.(\d+)\.(.+)$")


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A FLUX.1 state dict, or part of one, under diffusers' names; stacked matrices become views of their parts.

    ValueError naming the first key that FLUX.1 does not have.
    """
    converted = {}
    for key, tensor in state.items():
        names = diffusers_names(key)
        for name, part in zip(names, _split(tensor, len(names)), strict=True):
            converted[name] = _halves_swapped(part) if name.startswith(_SWAPPED) else part
    return converted


def to_comfyui(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way: diffusers' names to those of Black Forest Labs' files, which ComfyUI opens.

    ValueError naming a key that FLUX.1 does not have in diffusers, or the part that a stacked matrix lacks.
    """
    groups: dict[str, dict[int, Tensor]] = {}
    for name, tensor in state.items():
        key, place = _stacked_name(name)
        groups.setdefault(key, {})[place] = _halves_swapped(tensor) if name.startswith(_SWAPPED) else tensor
    return {key: _joined(key, parts) for key, parts in groups.items()}


def diffusers_names(key: str) -> tuple[str, ...]:
    """Names of the one or more tensors that a tensor of Black Forest Labs' becomes. ValueError for a foreign key."""
    match = _STACKED_NAME.match(key)
    stem, kind = (match[3] if match else key).rpartition(".")[::2]
    table = _BLOCKS[match[1]][1] if match else _TOP
    if stem not in table:
        raise ValueError(f"{key} is no key of a FLUX.1 model; expected names like double_blocks.0.img_attn.qkv.weight.")
    prefix = f"{_BLOCKS[match[1]][0]}.{match[2]}." if match else ""
    # ComfyUI calls the scales of query and key norms weights since 0.14, Black Forest Labs' files scales.
    kind = "weight" if kind == "scale" else kind
    return tuple(f"{prefix}{name}.{kind}" for name in table[stem])


def _stacked_name(name: str) -> tuple[str, int]:
    """Key and place in it of a tensor of diffusers'."""
    match = _DIFFUSERS_NAME.match(name)
    stem, kind = (match[3] if match else name).rpartition(".")[::2]
    for blocks, (named, table) in _BLOCKS.items():
        if match and match[1] == named:
            return _found(name, f"{blocks}.{match[2]}.", table, stem, kind)
    return _found(name, "", _TOP, stem, kind)


def _found(name: str, prefix: str, table: Mapping[str, tuple[str, ...]], stem: str, kind: str) -> tuple[str, int]:
    for key, names in table.items():
        if stem in names:
            kind = "scale" if key.endswith(("query_norm", "key_norm")) else kind
            return f"{prefix}{key}.{kind}", names.index(stem)
    raise ValueError(
        f"{name} is no key of a FLUX.1 model in diffusers; expected names like transformer_blocks.0.attn.to_q.weight."
    )


def _split(tensor: Tensor, parts: int) -> Iterator[Tensor]:
    if parts == 1:
        return iter((tensor,))
    if parts == 3:
        return iter(tensor.chunk(3))
    width = tensor.shape[0] // (_SINGLE_PARTS + _MLP_RATIO)
    return iter(tensor.split([width] * _SINGLE_PARTS + [tensor.shape[0] - _SINGLE_PARTS * width]))


def _joined(key: str, parts: Mapping[int, Tensor]) -> Tensor:
    names = diffusers_names(key)
    missing = [name for place, name in enumerate(names) if place not in parts]
    if missing:
        raise ValueError(f"{key} cannot be put together: {', '.join(missing)} is missing.")
    return torch.cat([parts[place] for place in range(len(names))]) if len(names) > 1 else parts[0]


def _halves_swapped(tensor: Tensor) -> Tensor:
    # Its own inverse, so both ways use it.
    return torch.cat(tensor.chunk(2)[::-1])
