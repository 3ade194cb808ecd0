"""How strongly each branch works."""

import math
from collections.abc import Iterable, Mapping

from .shape import Branch

# Negative, because 0 is a weight somebody may ask for.
FROM_SLIDER = -1.0


def branch_weights(
    branches: Iterable[Branch], resemblance: float, id_weight: float = FROM_SLIDER, siglip_weight: float = FROM_SLIDER
) -> Mapping[Branch, float]:
    """Output weight of every branch an adapter has.

    `resemblance` runs from 0 ("spirit", the arc branch alone) to 1 ("form", the sig branch alone), as in the released
    demo. An override of 0 or more replaces what the slider says. An adapter of one branch ignores the slider: its
    weight is 1 unless overridden. ValueError where one of them is not a finite number.
    """
    given = {"resemblance": resemblance, "id_weight": id_weight, "siglip_weight": siglip_weight}
    for name, value in given.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; expected a finite number.")
    branches = list(branches)
    slider = {Branch.ARC: 1.0 - resemblance, Branch.SIG: resemblance}
    overrides = {Branch.ARC: id_weight, Branch.SIG: siglip_weight}
    weights = slider if len(branches) > 1 else dict.fromkeys(branches, 1.0)
    return {branch: weights[branch] if overrides[branch] < 0 else overrides[branch] for branch in branches}
