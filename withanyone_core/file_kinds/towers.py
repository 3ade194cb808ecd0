"""Vision towers: the SigLIP that WithAnyone reads, and those that people take for it."""

import torch

from ..faces.siglip import BASE, CLASS_TOKEN, PATCH_EMBEDDING, VISION, tower_shape, vision_weights
from .header import Header, named, uneven
from .kinds import NOT_NEEDED, Kind, missing

# A tower alone does not show its language; the text tower that came with it does, by its number of words.
I18N_WORDS = 250_000
_OTHER_WORDS = {32_000: "the English SigLIP", 256_000: "SigLIP 2"}
_TEXT_EMBEDDING = "text_model.embeddings.token_embedding.weight"


def recognize_tower(header: Header) -> Kind | None:
    if not any(key.endswith("embeddings.patch_embedding.weight") for key in header.tensors):
        return None
    weights = vision_weights({key: torch.empty(info.shape, device="meta") for key, info in header.tensors.items()})
    if weights.get(PATCH_EMBEDDING, torch.empty(0)).ndim != 4:
        return None
    width = weights[PATCH_EMBEDDING].shape[0]
    flat = [key for key, weight in weights.items() if not weight.ndim]
    if flat:
        return Kind("vision tower, damaged", "nothing as it is", faults=(f"Without any dimension: {named(flat)}.",))
    if CLASS_TOKEN in weights:
        return Kind("CLIP vision tower", f"not WithAnyone, which reads SigLIP; {NOT_NEEDED}", {"width": width})
    try:
        shape = tower_shape(weights, "It")
    except ValueError as error:
        return Kind(f"SigLIP vision tower {width} wide, not base for 256 pixels", "not WithAnyone. " + str(error))
    facts = {"width": shape.width, "layers": shape.layers, "patch px": shape.patch_px, "image px": shape.image_size_px}
    faults = missing(uneven(weights, f"{VISION}encoder.layers"), "The tower")
    faults += missing([key for key in _ends() if key not in weights], "The tower")
    if shape != BASE:
        fits = "only an adapter trained with this tower; the released ones read tokens 768 wide"
        return Kind("small SigLIP vision tower", fits, facts, faults)
    words = (*header.shape(_TEXT_EMBEDDING), 0)[0]
    if words in _OTHER_WORDS:
        fits = f"not the released adapter: the text tower beside it is that of {_OTHER_WORDS[words]}, not of i18n"
        return Kind(f"SigLIP base for 256 pixels, of {_OTHER_WORDS[words]}", fits, facts, faults)
    fits = "every released adapter, in Load SigLIP (models/clip_vision)"
    if words == I18N_WORDS:
        return Kind("SigLIP base for 256 pixels, i18n", fits, facts, faults)
    fits += ", if it is the i18n one: the English and SigLIP 2 towers have the same shapes"
    return Kind("SigLIP base for 256 pixels", fits, facts, faults)


def _ends() -> list[str]:
    return [
        f"{VISION}{name}"
        for name in ("embeddings.patch_embedding.bias", "post_layernorm.weight", "post_layernorm.bias")
    ]
