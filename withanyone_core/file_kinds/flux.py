"""Flux transformers: which of the family, under which key names, and how quantized."""

import re
from dataclasses import dataclass
from math import prod

from ..base_models.base_model import Size
from ..base_models.flux1 import FLUX_1
from ..base_models.flux2 import FLUX_2
from ..base_models.registry import base_of_keys
from .header import Header, numbers, uneven
from .kinds import NOT_NEEDED, Json, Kind, missing

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
_KEYS = re.compile(
    r"^(model\.diffusion_model\.|diffusion_model\.|transformer\.)?"
    r"(double_blocks|single_blocks|transformer_blocks|single_transformer_blocks|img_in|txt_in|time_in|vector_in"
    r"|guidance_in|final_layer|double_stream_modulation_img|double_stream_modulation_txt|single_stream_modulation)\."
)
_FITS = "the released adapters (models/diffusion_models)"


@dataclass(frozen=True)
class Names:
    """What a family of names calls the parts that distinguish the models."""

    label: str
    doubles: str
    singles: str
    image_in: str
    guidance: str


_NATIVE = Names("original", "double_blocks", "single_blocks", "img_in", "guidance_in.")
_DIFFUSERS = Names(
    "diffusers", "transformer_blocks", "single_transformer_blocks", "x_embedder", "time_text_embed.guidance_embedder."
)


def is_flux_key(key: str) -> bool:
    """Whether a tensor of this key would be taken for one of FLUX's own, under the names of any of its formats."""
    return bool(_KEYS.match(key))


def recognize_flux(header: Header) -> Kind | None:
    """A transformer of the Flux family, alone or inside a full checkpoint."""
    for prefix in PREFIXES:
        model = header.under(prefix)
        for names in (_NATIVE, _DIFFUSERS):
            doubles, singles = (len(numbers(model.tensors, each)) for each in (names.doubles, names.singles))
            image_in = [key for key in model.tensors if key.startswith(f"{names.image_in}.")]
            if doubles and singles and image_in and not model.shape(f"{names.image_in}.proj.weight"):
                return _named(header, model, names, Size(doubles, singles, _width(model, names)))
    return None


def _named(header: Header, model: Header, names: Names, size: Size) -> Kind:
    guidance = any(key.startswith(names.guidance) for key in model.tensors)
    quantization = _quantization(model)
    channels = _image_channels(model, names, size.width)
    facts: dict[str, Json] = {
        "double blocks": size.double_blocks,
        "single blocks": size.single_blocks,
        "width": size.width,
        "image channels in": channels,
        "guidance": guidance,
        "names": names.label,
        "stored as": quantization,
        "also holds": list(_others(header)),
    }
    gaps = (
        []
        if "Nunchaku" in quantization
        else [*uneven(model.tensors, names.doubles), *uneven(model.tensors, names.singles)]
    )
    name, fits = _model(model, size, channels, guidance)
    if "Nunchaku" in quantization:
        fits = "not WithAnyone: Nunchaku models run blocks of their own, which call no patches"
    return Kind(name, fits, facts, missing(gaps, "The model"))


def _model(model: Header, size: Size, channels: int, guidance: bool) -> tuple[str, str]:
    """Name and what it fits with."""
    base = base_of_keys(model.tensors)
    if any(key.startswith("distilled_guidance_layer.") for key in model.tensors):
        return "Chroma", f"not the released adapters: other guidance, no pooled text; {NOT_NEEDED}"
    if base is FLUX_2:
        return _flux_2(size)
    if size not in FLUX_1.sizes.values():
        needed = next(iter(FLUX_1.sizes.values()))
        expected = f"{needed.double_blocks} double and {needed.single_blocks} single blocks of width {needed.width}"
        return "Flux of another size", f"an adapter trained with this size; the released ones need {expected}"
    return _flux_1(channels, guidance)


def _flux_1(channels: int, guidance: bool) -> tuple[str, str]:
    if not guidance:
        return (
            "FLUX.1-schnell",
            "the sockets fit, but the released adapters were trained on dev, with guidance: untested",
        )
    if channels == 384:
        return "FLUX.1-Fill-dev", "the sockets fit, but the released adapters were not trained on Fill: untested"
    if channels == 128:
        return "FLUX.1-Depth-dev or FLUX.1-Canny-dev (same keys)", "the sockets fit, but untested with the adapters"
    return (
        "FLUX.1-dev, FLUX.1-Kontext-dev or a fine-tune of theirs (same keys; only name or hash distinguishes them)",
        f"{_FITS}: withanyone.safetensors on dev, K and Ke on Kontext",
    )


def _flux_2(size: Size) -> tuple[str, str]:
    names = FLUX_2.named(size.blocks, size.width)
    fits = "an adapter trained on it (docs/training.md); not the released adapters, which are made for FLUX.1"
    return (f"{names[0]} or a fine-tune of it" if names else "FLUX.2 of another size"), fits


def _width(model: Header, names: Names) -> int:
    """Of the image stream; from the bias, which no quantization changes."""
    bias = model.shape(f"{names.image_in}.bias")
    return (bias or model.shape(f"{names.image_in}.weight") or (0,))[0]


def _image_channels(model: Header, names: Names, width: int) -> int:
    weight = model.tensors.get(f"{names.image_in}.weight")
    if weight is None or not width:
        return 0
    # Four-bit formats keep two numbers in a byte and shapes of their own.
    return prod(weight.shape) * (2 if weight.dtype == "U8" else 1) // width


def _quantization(model: Header) -> str:
    keys, dtypes = model.tensors, model.dtypes
    eights = [dtype for dtype in dtypes if dtype.startswith("F8_E") and dtype != "F8_E8M0"]
    if any(key.endswith((".wscales", ".qweight", ".proj_down")) for key in keys):
        return "Nunchaku (SVDQuant)"
    if any(".quant_state.bitsandbytes__" in key for key in keys):
        return "bitsandbytes, " + ("NF4" if any("nf4" in key for key in keys) else "FP4")
    if any(key.endswith(".weight_scale_2") for key in keys) and "U8" in dtypes:
        return "NVFP4"
    if eights and any(key.endswith(("scaled_fp8", ".scale_weight", ".weight_scale")) for key in keys):
        return "scaled fp8 (" + ", ".join(eights) + ")"
    if eights:
        return "fp8 (" + ", ".join(eights) + ")"
    return ", ".join(dtypes)


def _others(header: Header) -> list[str]:
    prefixes = {
        "VAE": ("vae.", "first_stage_model."),
        "text encoders": ("text_encoders.", "conditioner.", "cond_stage_model."),
    }
    return [name for name, starts in prefixes.items() if any(key.startswith(starts) for key in header.tensors)]
