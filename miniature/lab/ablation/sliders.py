"""The slider that is swept: resemblance between two branches, or the weight of the one there is."""

from collections.abc import Mapping
from dataclasses import dataclass

from withanyone_core.adapter.shape import Branch
from withanyone_core.adapter.strength import branch_weights

RESEMBLANCES, RESEMBLANCE = (0.0, 0.25, 0.5, 0.75, 1.0), 0.5
IDENTITY_WEIGHTS, IDENTITY_WEIGHT = (0.5, 0.75, 1.0, 1.25), 1.0


@dataclass(frozen=True)
class Slider:
    """`values` that are tried; `usual` is the one that tables show."""

    name: str
    values: tuple[float, ...]
    usual: float
    branches: tuple[Branch, ...]

    def weights(self, value: float) -> Mapping[Branch, float]:
        """Output weight of each branch."""
        if len(self.branches) > 1:
            return branch_weights(self.branches, value)
        return {self.branches[0]: value}


def slider_of(branch: str) -> Slider:
    """The slider of what a run trains: `adapter.branch` of its settings."""
    if branch == "both":
        return Slider("resemblance", RESEMBLANCES, RESEMBLANCE, (Branch.ARC, Branch.SIG))
    return Slider("identity weight", IDENTITY_WEIGHTS, IDENTITY_WEIGHT, (Branch(branch),))
