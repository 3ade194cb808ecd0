"""Training state: everything a run trains with, and how far it is. Data only; the trainer changes it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from withanyone_core.adapter.shape import Branch

from ..configuration.finetune import Finetune
from ..evaluation.measuring import EvaluationModels
from .batch import ConditioningSpec
from .early_stopping import Verdict, scores_at, verdict
from .optimizer import ExponentialMovingAverage
from .prompts import PromptScene
from .sampling import Sources
from .step import FrozenModels
from .trainable import TrainableAdapter


@dataclass
class Progress:
    """Counters and series of a run, which a checkpoint keeps beside its tensors.

    step            finished steps, skipped ones included
    skipped         steps whose loss or gradient was NaN or infinite, in all and in a row
    measured        by validation: means with intervals, each image's scores, and the validation losses
    row             the latest step's numbers
    changes         settings that were changed when the run was resumed, as `changed` lists them
    """

    step: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    measured: list[dict[str, Any]] = field(default_factory=list)
    row: dict[str, float | None] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        """What another version has written besides is left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(eq=False)
class TrainingState:
    """A run in progress.

    origin  what must be the same when a run is resumed: the adapter it started from, the base model, the data
    prompts  of the user's own, for validation
    ema     of the trained parameters; empty where none is kept
    """

    settings: Finetune
    accelerator: Accelerator
    frozen: FrozenModels
    adapter: TrainableAdapter
    sources: Sources
    optimizer: torch.optim.Optimizer
    evaluation_models: EvaluationModels | None
    origin: Mapping[str, str]
    prompts: tuple[PromptScene, ...] = ()
    progress: Progress = field(default_factory=Progress)
    ema: ExponentialMovingAverage = field(init=False)
    _verdicts: dict[int, Verdict] = field(default_factory=dict, init=False)  # by the number of validations

    def __post_init__(self) -> None:
        self.ema = ExponentialMovingAverage(self.adapter.parameters, self.settings.optim.ema)

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.settings.out

    @property
    def conditioning(self) -> ConditioningSpec:
        """How the adapter reads people."""
        file, person = self.adapter.file, self.adapter.person
        return ConditioningSpec(
            Branch.SIG in self.adapter.weights,
            file is not None and file.truncates_boxes,
            "" if person is None else person.identity.name,
            self.adapter.learned,
        )

    @property
    def verdict(self) -> Verdict:
        """Which checkpoint is best, and whether early stopping ends the run now."""
        measured = self.progress.measured
        # A bootstrap takes its time, and `is_over` asks at every step.
        if len(measured) not in self._verdicts:
            stopping = self.settings.early_stopping
            found = verdict(
                [scores_at(each) for each in measured],
                stopping.max_copy_paste_increase,
                stopping.patience,
                self.settings.seed,
            )
            self._verdicts[len(measured)] = found if stopping.enabled else Verdict(found.best_step)
        return self._verdicts[len(measured)]

    @property
    def is_over(self) -> bool:
        return self.progress.step >= self.settings.optim.steps or self.verdict.stop
