"""How far a run is: the counters and series that a checkpoint keeps beside its tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .stopping import Look


@dataclass
class Progress:
    """Counters of a run.

    step            finished steps, skipped ones included
    skipped         steps whose loss was no number, in all and in a row
    looks           what the stopping rule reads
    measured        by look, for the report: means with intervals, and the validation losses
    row             the latest step's numbers
    changes         settings that were changed when the run was resumed, as `changed` lists them
    """

    step: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    looks: list[Look] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)
    row: dict[str, float | None] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        return cls(**{**values, "looks": [Look(**look) for look in values["looks"]]})
