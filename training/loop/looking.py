"""Looking at held-out photos while a run goes on: painting them, judging the paintings, and keeping both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from withanyone_core.injection.diffusers import AdapterSocket

from ..cache.cache import Cache
from ..configuration.finetune import Finetune
from ..evaluation.measuring import Instruments
from .batch import Reading
from .judging import Truth, encoded, headline, judged, truth_of
from .painting import Scene, painted, validation_losses
from .step import Frozen

MEASURES = ("sim_gt", "sim_ref", "copy_paste", "leakage")
PREVIEWS = "previews"


@dataclass(eq=False)
class Looking:
    """What is looked at, with what; `scenes` may be none."""

    settings: Finetune
    cache: Cache
    scenes: tuple[Scene, ...]
    frozen: Frozen
    socket: AdapterSocket
    reading: Reading
    instruments: Instruments | None
    _truths: list[Truth] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        levels = self.settings.validation.num_sigmas
        return (*MEASURES, "validation", *(f"validation_{(index + 0.5) / levels:.3f}" for index in range(levels)))

    def painted(self) -> tuple[list[float], list[np.ndarray]]:
        """Validation losses by noise level, and an image of each scene."""
        validation = self.settings.validation
        guidance = self.settings.noise.guidance
        losses = validation_losses(
            self.cache, self.scenes, self.frozen, self.socket, validation.num_sigmas, guidance, self.reading
        )
        steps, guidance = validation.sampling_steps, validation.guidance
        images = [
            painted(self.cache, scene, self.frozen, self.socket, steps, guidance, self.reading) for scene in self.scenes
        ]
        return losses, images

    def judged(self, step: int, losses: list[float], images: Sequence[np.ndarray]) -> dict[str, Any]:
        """Writes the previews; the losses and what the judges measured, by name."""
        truths = self._known_truths()
        folder = self.settings.out / PREVIEWS / f"step-{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for scene, image in zip(self.scenes, images, strict=True):
            (folder / f"{scene.name}.png").write_bytes(encoded(image))
        numbers: dict[str, Any] = dict.fromkeys(MEASURES)
        if self.instruments is not None:
            lines = judged(images, truths, self.scenes, self.instruments)
            numbers = headline(lines, self.instruments, self.settings.seed)
        return {"validation": losses, **numbers}

    def row(self, found: Mapping[str, Any]) -> dict[str, float | None]:
        """What `judged` found, by column."""
        losses = found["validation"]
        values = [*(found[name] and found[name]["mean"] for name in MEASURES), sum(losses) / len(losses), *losses]
        return dict(zip(self.columns, values, strict=True))

    def _known_truths(self) -> list[Truth]:
        if not self._truths:
            self._truths = [truth_of(self.cache, scene, self.frozen) for scene in self.scenes]
            _write_truths(self.settings.out / PREVIEWS / "truth", self.scenes, self._truths)
        return self._truths


def summary(found: Mapping[str, Any]) -> str:
    """What `judged` found, on one line."""
    losses = found["validation"]
    means = [f"{name} {found[name]['mean']:.3f}" for name in MEASURES if found[name]]
    return ", ".join([f"loss {sum(losses) / len(losses):.4f}", *means])


def _write_truths(folder: Path, chosen: tuple[Scene, ...], truths: list[Truth]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene, truth in zip(chosen, truths, strict=True):
        (folder / f"{scene.name}.png").write_bytes(truth.photo)
        for number, reference in enumerate(truth.references, start=1):
            (folder / f"{scene.name}_reference_{number}.png").write_bytes(reference)
