"""Which kind of model a header belongs to, whatever WithAnyone would do with it."""

import re

from .flux import recognize_flux
from .header import Header
from .kinds import Kind, recognize_clip_text, recognize_language_model, recognize_lora, recognize_t5, recognize_vae
from .towers import recognize_tower

IDENTITY = "withanyone-identity"  # what the format in an identity's header begins with
_ADAPTER_KEYS = re.compile(r"^(ipa|arcface_in)(_arc|_sig)?\.")


def is_adapter(header: Header) -> bool:
    return any(_ADAPTER_KEYS.match(key) for key in header.tensors)


def is_identity(header: Header) -> bool:
    return header.metadata.get("format", "").startswith(IDENTITY)


def recognize_model(header: Header) -> Kind | None:
    """Models of others: base models, vision towers, text encoders, VAEs."""
    for recognize in (
        recognize_flux,
        recognize_tower,
        recognize_clip_text,
        recognize_t5,
        recognize_language_model,
        recognize_vae,
    ):
        kind = recognize(header)
        if kind is not None:
            return kind
    return None


def recognize(header: Header) -> Kind | None:
    """Any known kind; WithAnyone's own ones are not examined further."""
    if is_identity(header):
        return Kind("WithAnyone identity", "Load Identity (input/identities)")
    # LoRAs name the parts they change, so they come before what they change.
    lora = recognize_lora(header)
    if lora is not None:
        return lora
    if is_adapter(header):
        return Kind("WithAnyone adapter", "Load WithAnyone Adapter (models/withanyone)")
    return recognize_model(header)


def what_it_is(header: Header, expected: str = "") -> str:
    """Two sentences on what a file is and where it belongs, with a space before them.

    Nothing where that is unknown or no other kind than the expected one.
    """
    kind = recognize(header)
    return "" if kind is None or kind.name == expected else f" It is: {kind.name}. It fits with: {kind.fits}."
