"""Tokens learned for one person: read by the adapter they were trained with and by no other."""

from torch import Tensor

from ..identity import Identity
from .checkpoint import AdapterFile, fingerprint
from .shape import Branch


def learned_tokens(branch: Branch, identity: Identity) -> Tensor | None:
    """The tokens trained for this person and branch, [tokens, hidden], if there are any."""
    if identity.learned is None:
        return None
    return identity.learned.arc if branch is Branch.ARC else identity.learned.sig


def check_learned(identity: Identity, file: AdapterFile, branch: Branch) -> None:
    """ValueError where the person's tokens for a branch were learned with another adapter or are not of its size."""
    learned, tokens = identity.learned, learned_tokens(branch, identity)
    if learned is None or tokens is None:
        return
    own = fingerprint(file)
    if learned.adapter != own:
        trained_with = learned.adapter_name or "another adapter"
        raise ValueError(
            f"The tokens of “{identity.name}” were learned with {trained_with} (fingerprint "
            f"{learned.adapter or 'none'}) and mean nothing to {file.path.name} (fingerprint {own}). Load the adapter "
            "they were learned with, learn them again for this one, or make the identity from photos."
        )
    shape = file.shapes[branch]
    # In the sig branch SigLIP patches precede the ArcFace tokens, and no weight of the adapter fixes how many they are.
    least, most = shape.arc_tokens, shape.arc_tokens if branch is Branch.ARC else None
    if tokens.ndim != 2 or tokens.shape[1] != shape.hidden or not least <= len(tokens) <= (most or len(tokens)):
        count = str(least) if most else f"{least} or more"
        raise ValueError(
            f"“{identity.name}” carries learned tokens of shape {list(tokens.shape)} for the {branch.value} branch; "
            f"expected [{count}, {shape.hidden}]. Learn them again with {file.path.name}."
        )
