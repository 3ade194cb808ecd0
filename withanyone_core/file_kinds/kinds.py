"""From keys and shapes to a name: LoRAs, text encoders and VAEs; the other kinds have modules of their own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..base_models.flux2 import TEXT_ENCODERS
from .header import Header, named, numbers, uneven

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]

NOT_NEEDED = "nothing WithAnyone uses"
ADAPTER_LORA = "WithAnyone adapter LoRA"

_LOW_RANK = re.compile(r"[._](lora_(A|B|a|b|up|down)|lora\.(up|down)|lokr_w[12]|hada_w[12]_[ab]|dora_scale)([._]|$)")
_ENTERING = re.compile(r"[._](lora_(A|a|down)|lora\.down)[._]")
_LEAVING = {"lora_A": "lora_B", "lora_a": "lora_b", "lora_down": "lora_up", "lora.down": "lora.up"}
_ADAPTER_PARTS = re.compile(r"(^|[._])(ipa|arcface_in|siglip_in)(_arc|_sig)?[._]\d+[._]")
_FLUX_PARTS = re.compile(r"(double_blocks|single_blocks|single_transformer_blocks)[._]\d+[._]")
_TEXT_PARTS = re.compile(r"^(lora_te|text_encoder|te\d?[._])")


@dataclass(frozen=True)
class Kind:
    """What a file turned out to be.

    name    in the user's words
    fits    one line: what it is used with and where it belongs
    facts   further properties, by name
    faults  what is wrong with it, each in the user's words; none for a sound file
    """

    name: str
    fits: str
    facts: Mapping[str, Json] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def missing(keys: list[str], what: str) -> tuple[str, ...]:
    """The fault of a file that lacks keys, or none."""
    return (f"{what} is not complete, {len(keys)} keys missing: {named(keys)}. Fetch it again.",) if keys else ()


def recognize_lora(header: Header) -> Kind | None:
    low_rank = [key for key in header.tensors if _LOW_RANK.search(key)]
    if not low_rank:
        return None
    entering = [key for key in low_rank if _ENTERING.search(key)]
    facts = {"ranks": sorted({header.shape(key)[0] for key in entering if header.shape(key)})}
    alone = [key for key in entering if _partner(key) not in header.tensors]
    faults = missing([_partner(key) for key in alone], "The LoRA")
    for name, fits, pattern in (
        (ADAPTER_LORA, "Add Adapter LoRA, on the adapter it was trained with", _ADAPTER_PARTS),
        ("Flux LoRA", "Load LoRA (LoraLoader), before Apply WithAnyone (models/loras)", _FLUX_PARTS),
        ("LoRA for text encoders only", "LoraLoader (models/loras)", _TEXT_PARTS),
    ):
        touched = [key for key in low_rank if pattern.search(key)]
        if touched:
            widths = sorted({header.shape(key)[1] for key in entering if key in touched and len(header.shape(key)) > 1})
            texts = any(_TEXT_PARTS.search(key) for key in low_rank)
            return Kind(name, fits, facts | {"input widths": widths, "touches text encoders": texts}, faults)
    return Kind("LoRA for another model than Flux", NOT_NEEDED, facts, faults)


def recognize_t5(header: Header) -> Kind | None:
    if "encoder.block.0.layer.0.SelfAttention.q.weight" in header.tensors:
        prefix, embedding = "encoder.block", "shared.weight"
        embedding = embedding if embedding in header.tensors else "encoder.embed_tokens.weight"
    elif "enc.blk.0.attn_q.weight" in header.tensors:  # as llama.cpp names it
        prefix, embedding = "enc.blk", "token_embd.weight"
    else:
        return None
    layers = len(numbers(header.tensors, prefix))
    vocabulary, width = (*header.shape(embedding), 0, 0)[:2]
    faults = missing([] if vocabulary else [embedding], "The text encoder")
    # Only the first block owns the table of relative positions.
    faults += missing(
        [key for key in uneven(header.tensors, prefix) if "relative" not in key and "rel_b" not in key], "It"
    )
    facts = {"layers": layers, "width": width, "vocabulary": vocabulary}
    if (layers, width, vocabulary) == (24, 4096, 32128):
        return Kind(
            "T5-XXL text encoder", "FLUX.1, in DualCLIPLoader of type flux (models/text_encoders)", facts, faults
        )
    name = "UMT5 text encoder" if vocabulary > 200_000 else "T5 text encoder of another size"
    return Kind(name, f"not FLUX.1, which reads T5-XXL (24 layers, width 4096, vocabulary 32128); {NOT_NEEDED}", facts)


def recognize_clip_text(header: Header) -> Kind | None:
    for prefix in ("text_model.", "text_encoder.text_model.", "clip_l.transformer.text_model."):
        embedding = header.shape(f"{prefix}embeddings.token_embedding.weight")
        if len(embedding) == 2 and not any(key.startswith("vision_model.") for key in header.tensors):
            break
    else:
        return None
    layers = len(numbers(header.tensors, f"{prefix}encoder.layers"))
    facts = {"layers": layers, "width": embedding[1], "vocabulary": embedding[0]}
    if (layers, embedding[1], embedding[0]) == (12, 768, 49408):
        faults = missing(uneven(header.tensors, f"{prefix}encoder.layers"), "The text encoder")
        return Kind(
            "CLIP-L text encoder", "FLUX.1, in DualCLIPLoader of type flux (models/text_encoders)", facts, faults
        )
    return Kind("CLIP text encoder of another size", f"not FLUX.1, which reads CLIP-L; {NOT_NEEDED}", facts)


def recognize_language_model(header: Header) -> Kind | None:
    """Text encoders of FLUX.2: language models under their own names, inside a bundle or not."""
    for prefix in ("", "text_encoders.qwen3_4b.transformer.", "text_encoders.qwen3_8b.transformer."):
        embedding = header.shape(f"{prefix}model.embed_tokens.weight")
        if len(embedding) == 2:
            break
    else:
        return None
    layers, width = len(numbers(header.tensors, f"{prefix}model.layers")), embedding[1]
    facts = {"layers": layers, "width": width, "vocabulary": embedding[0]}
    faults = missing(uneven(header.tensors, f"{prefix}model.layers"), "The text encoder")
    for base, encoder in TEXT_ENCODERS.items():
        if width == encoder.width and layers <= encoder.layers:
            return Kind(f"language model of {encoder.name}'s width", f"{base}, as its text encoder", facts, faults)
    return Kind("language model", NOT_NEEDED, facts, faults)


def recognize_vae(header: Header) -> Kind | None:
    for prefix in ("", "vae.", "first_stage_model."):
        entering = header.shape(f"{prefix}decoder.conv_in.weight")
        if len(entering) == 4:
            break
    else:
        return None
    faults = missing([] if header.shape(f"{prefix}encoder.conv_in.weight") else ["encoder.conv_in.weight"], "The VAE")
    facts = {"latent channels": entering[1], "names": "diffusers" if _is_diffusers_vae(header) else "original"}
    if entering[1] == 16 and not header.shape(f"{prefix}quant_conv.weight"):
        fits = "FLUX.1 (models/vae). SD3's VAE has the same keys; only its hash distinguishes it"
        return Kind("VAE with 16 channels, as FLUX.1's", fits, facts, faults)
    if entering[1] == 32 and header.shape(f"{prefix}bn.running_mean"):
        return Kind("VAE with 32 channels, FLUX.2's", "FLUX.2 (models/vae)", facts, faults)
    name = "VAE of SD or SDXL" if entering[1] == 4 else "VAE of another model"
    return Kind(name, f"neither FLUX.1 nor FLUX.2; {NOT_NEEDED}", facts, faults)


def _is_diffusers_vae(header: Header) -> bool:
    return any("decoder.mid_block." in key for key in header.tensors)


def _partner(key: str) -> str:
    """The second factor that belongs to a first one: `lora_A` -> `lora_B`."""
    for entering, leaving in _LEAVING.items():
        if entering in key:
            return key.replace(entering, leaving)
    return key
