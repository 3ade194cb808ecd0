"""Parts of a run in which some settings differ, as in the paper's four phases."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from .reading import Section, Tree, known_keys, nearest_key, set_key

# What the network, the optimizer's state and the files are made of stays the same for the whole run.
CHANGEABLE = ("data.", "id_loss.weight", "id_loss.max_sigma", "nce.", "noise.", "optim.lr", "optim.max_grad_norm")


class Phase(Section):
    """Settings until a step (or until a fraction of all steps) that differ from the run's own.

    overrides  dotted keys or sections: `data.paired_ratio: 0` or `data: {paired_ratio: 0}`
    """

    until_step: Annotated[int, Field(ge=1)] | None = None
    until_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_end(self) -> "Phase":
        if (self.until_step is None) == (self.until_fraction is None):
            raise ValueError(
                "a phase ends at until_step or at until_fraction (0 to 1 of optim.steps); give one of them"
            )
        return self


def phase_ends(phases: Sequence[Phase], steps: int) -> tuple[int, ...]:
    """The step each phase ends at. ValueError where they do not follow each other."""
    ends = tuple(phase.until_step or max(1, round((phase.until_fraction or 0.0) * steps)) for phase in phases)
    if any(later <= earlier for earlier, later in pairwise(ends)):
        raise ValueError(
            f"the phases end at steps {', '.join(map(str, ends))}; each must end later than the one before"
        )
    return ends


def phase_tree(tree: Mapping[str, Any], phase: Phase, model: type[BaseModel]) -> Tree:
    """A run's settings with those of a phase. ValueError for keys that are unknown or the same for the whole run."""
    changed = {**deepcopy(dict(tree)), "phases": ()}
    known = set(known_keys(model))
    for key, value in _leaves(phase.overrides):
        if key not in known:
            nearest = nearest_key(model, key)
            raise ValueError(f"the phase's key {key} is unknown" + (f"; did you mean {nearest}?" if nearest else ""))
        if not key.startswith(CHANGEABLE):
            raise ValueError(
                f"the phase changes {key}, which is the same for the whole run; phases may change "
                f"{', '.join(name + '*' if name.endswith('.') else name for name in CHANGEABLE)}"
            )
        set_key(changed, key, value)
    return changed


def _leaves(overrides: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
