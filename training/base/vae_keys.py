"""Names of the VAE's tensors: as Black Forest Labs and ComfyUI write them (ae.safetensors), and as diffusers does.

Pure functions on state dicts; the attention's 1 x 1 convolutions are diffusers' linear layers.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_MIDDLE = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
_ENDS = {"norm_out": "conv_norm_out", "nin_shortcut": "conv_shortcut"}


def vae_to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's state dict under diffusers' names."""
    levels = 1 + max(_level(key) for key in state)
    converted = {}
    for key, tensor in state.items():
        name = _renamed(key, levels)
        converted[name] = tensor[:, :, 0, 0] if _is_matrix(name) and tensor.ndim == 4 else tensor
    return converted


def stage_widths(state: Mapping[str, Tensor], blocks: str) -> tuple[int, ...]:
    """Channels of each stage of `encoder.down_blocks` or `decoder.up_blocks`, in diffusers' names and order."""
    widths = []
    while (name := f"{blocks}.{len(widths)}.resnets.0.conv1.weight") in state:
        widths.append(state[name].shape[0])
    return tuple(widths)


def outside_name(key: str) -> str:
    """Black Forest Labs keep FLUX.2's two convolutions beside the latent inside encoder and decoder."""
    return key.replace("encoder.quant_conv.", "quant_conv.").replace("decoder.post_quant_conv.", "post_quant_conv.")


def _renamed(key: str, levels: int) -> str:
    """`decoder.up.3.block.0.conv1.weight` is `decoder.up_blocks.0.resnets.0.conv1.weight`; up levels are reversed."""
    match = re.match(r"^(\w+)\.(down|up)\.(\d+)\.(block\.\d+|downsample|upsample)\.(.+)$", key)
    if match:
        prefix, way, level, part, rest = match.groups()
        part = part.replace("block", "resnets") if "block" in part else f"{part}rs.0"
        key = f"{prefix}.{way}_blocks.{_numbered(way, int(level), levels)}.{part}.{rest}"
    middle = re.match(r"^(\w+)\.mid\.(\w+)\.(.+)\.(weight|bias)$", key)
    if middle:
        part = _ATTENTION[middle[3]] if middle[2].startswith("attn") else middle[3]
        return f"{middle[1]}.mid_block.{_MIDDLE[middle[2]]}.{part}.{middle[4]}"
    return ".".join(_ENDS.get(part, part) for part in key.split("."))


def _numbered(way: str, level: int, levels: int) -> int:
    """Black Forest Labs number the decoder's levels from the image, diffusers from the latent."""
    return level if way == "down" else levels - 1 - level


def _level(key: str) -> int:
    match = re.match(r"^(?:encoder\.down|decoder\.up)\.(\d+)\.", key)
    return int(match[1]) if match else -1


def _is_matrix(name: str) -> bool:
    return ".attentions." in name and name.endswith(".weight") and "group_norm" not in name
