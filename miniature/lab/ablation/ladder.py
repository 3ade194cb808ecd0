"""Every variant trained with every seed, measured, and kept: one line of results a run."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from training.evaluation.records import Line, Lines
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.files.digest import file_sha256

from ...generation import ImageGenerator
from ..recipes.cards import machine
from ..steering import SteeredGenerator
from .commands import digest, settings_of, trained
from .images import Eyes, Scores, Test, generated_scores
from .sliders import Slider
from .variants import START, Variant

LOGGER = logging.getLogger("withanyone")
FORMAT = 2  # of a line


@dataclass(frozen=True, eq=False)
class Bench:
    """What generates and measures: loaded once, the same for every adapter."""

    generator: ImageGenerator
    eyes: Eyes

    def scores(self, adapter: Path, test: Test, slider: Slider, values: Sequence[float], steps: int) -> list[Line]:
        """The test generated with an adapter at each of the slider's values."""
        file = inspect_adapter(adapter)
        network = AdapterNetwork.load(file, dtype=torch.float32).eval().requires_grad_(False)
        generator = SteeredGenerator(self.generator, network, file)
        rows = []
        for value in values:
            found: Scores = generated_scores(generator, test, slider.weights(value), steps, self.eyes)
            rows.append({"slider": value, **found})
        return rows


@dataclass(frozen=True, eq=False)
class Ladder:
    """What all runs share.

    changes        settings of every variant, before its own
    start          the adapter that every run starts from
    sampler_steps  of each generated image
    shared         everything that must be the same for two lines to be compared, as JSON
    """

    recipe: Path
    changes: tuple[str, ...]
    start: Path
    slider: Slider
    test: Test
    sampler_steps: int
    shared: Mapping[str, Any]
    runs: Path

    @property
    def common(self) -> str:
        """Tells lines that may be compared from those of other settings, models, data or images."""
        return digest({"format": FORMAT, **self.shared, "test": self.test.digest, "slider": self.slider.values})

    def settings(self, variant: Variant, seed: int) -> tuple[str, ...]:
        return (*self.changes, f"adapter.init={self.start}", *variant.changes, f"seed={seed}")

    def key(self, variant: Variant | None, seed: int) -> str:
        """Of a line of results; without a variant, of the start's."""
        if variant is None:
            return digest([self.common, START])
        return digest([self.common, settings_of(self.recipe, self.settings(variant, seed), self.runs)])


def climb(ladder: Ladder, chosen: Sequence[tuple[Variant, int]], lines: Lines, bench: Bench, minutes: float) -> int:
    """Trains and measures what `lines` lacks, one run after another; the number of runs that are left.

    minutes  after which no run is begun
    """
    begun = time.monotonic()
    if lines.get(START, ladder.key(None, 0)) is None:
        alike = {"truth_and_reference": ladder.test.alike}
        _measure(ladder, None, 0, ladder.start, 0.0, lines, bench, alike)
    left = [(variant, seed) for variant, seed in chosen if _line(ladder, variant, seed, lines) is None]
    LOGGER.info("%d of %d runs are left.", len(left), len(chosen))
    for done, (variant, seed) in enumerate(left):
        if time.monotonic() - begun > 60 * minutes:
            return len(left) - done
        LOGGER.info("Run %d of %d: %s, seed %d.", done + 1, len(left), variant.title, seed)
        out = ladder.runs / f"{name_of(variant, seed)}_{ladder.key(variant, seed)[:12]}"
        started = time.monotonic()
        adapter = trained(ladder.recipe, ladder.settings(variant, seed), out)
        _measure(ladder, variant, seed, adapter, time.monotonic() - started, lines, bench, {})
    return 0


def name_of(variant: Variant | None, seed: int) -> str:
    """Of a run, as results name it."""
    return START if variant is None else f"{variant.name}_seed{seed}"


def _line(ladder: Ladder, variant: Variant, seed: int, lines: Lines) -> Line | None:
    return lines.get(name_of(variant, seed), ladder.key(variant, seed))


def _measure(
    ladder: Ladder,
    variant: Variant | None,
    seed: int,
    adapter: Path,
    seconds: float,
    lines: Lines,
    bench: Bench,
    more: Mapping[str, Any],
) -> None:
    started, slider = time.monotonic(), ladder.slider
    rows = bench.scores(adapter, ladder.test, slider, slider.values, ladder.sampler_steps)
    lines.add(
        {
            "case": name_of(variant, seed),
            "key": ladder.key(variant, seed),
            "common": ladder.common,
            "variant": START if variant is None else variant.name,
            "seed": seed,
            "shared": dict(ladder.shared),
            "adapter": file_sha256(adapter),
            "slider": slider.name,
            "usual": slider.usual,
            "rows": rows,
            "seconds": {"training": round(seconds, 1), "measuring": round(time.monotonic() - started, 1)},
            "machine": machine(),
            "date": date.today().isoformat(),
            **more,
        }
    )
