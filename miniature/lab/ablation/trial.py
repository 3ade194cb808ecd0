"""The dataset doctor on trial: does a folder's risk tell how much training on it copies?"""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.records import Line, Lines
from training.preparing.report import NUMBERS
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.files.digest import file_sha256

from ...world.renderer import render
from ...world.scene import SIDE_PX
from ..evidence.figures import Figure
from ..recipes.cards import machine
from ..recipes.scenes import TRAINING_PEOPLE
from .commands import digest, model_changes, prepared, settings_of, trained
from .estimates import correlations, estimate
from .images import Eyes, Test, asked_for
from .ladder import Bench
from .photo_sets import Habit, first_scene, target_scene, write_set
from .setting import model_digests
from .sliders import Slider, slider_of
from .variants import COMMON, UNWATCHED

LOGGER = logging.getLogger("withanyone")
FIRST_PERSON = TRAINING_PEOPLE + 350_000
UNLIKE = 0.25  # cosine under which two people cannot be taken for one another by prepare.py
TRIED = 200
BEFORE = "before"
PREPARING = ("held_out=0", "crops=1")
TUNING = (
    "optim.lr=3e-4",
    "optim.batch_size=4",
    "optim.gradient_accumulation_steps=1",
    "optim.warmup_steps=10",
    "seed=0",
)


@dataclass(frozen=True)
class Trial:
    """What was asked for.

    adapter        that every set trains further, for `steps`
    people         of each set, the same in all; targets are generated of each
    changes        settings of finetune.py
    """

    recipe: Path
    weights: Path
    scratch: Path
    adapter: Path
    changes: tuple[str, ...]
    people: int
    steps: int
    targets: int
    sampler_steps: int


def tried(trial: Trial, habits: Sequence[Habit], lines: Lines, bench: Bench, minutes: float) -> int:
    """Makes, prepares, trains and measures the sets that `lines` lacks; the number that are left.

    minutes  after which no set is begun. A set that cannot be prepared is left out with a warning.
    """
    begun, runs = time.monotonic(), _Runs.of(trial, bench)
    if lines.get(BEFORE, runs.key(None)) is None:
        lines.add(runs.line(None, trial.adapter, {}, 0.0))
    left = [habit for habit in habits if lines.get(habit.name, runs.key(habit)) is None]
    for done, habit in enumerate(left):
        if time.monotonic() - begun > 60 * minutes:
            return len(left) - done
        LOGGER.info("Set %d of %d: %s.", done + 1, len(left), habit.words)
        started, folder = time.monotonic(), trial.scratch / f"{habit.name}_{runs.key(habit)[:12]}"
        write_set(habit, runs.people, folder / "photos")
        try:
            cache = prepared(folder / "photos", folder / "cache", PREPARING)
        except RuntimeError as error:
            LOGGER.warning("The set %s is left out: %s", habit.name, error)
            continue
        found = json.loads((cache / NUMBERS).read_text(encoding="utf-8"))
        adapter = trained(trial.recipe, runs.settings(cache), folder / "run")
        lines.add(runs.line(habit, adapter, found, time.monotonic() - started))
    return 0


def comparable(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines of sets that belong together: those of the latest trial, from the lowest risk to the highest."""
    lines = list(lines)
    latest = max(lines, key=lambda line: line["when"], default=None)
    kept = [line for line in lines if line["common"] == latest["common"] and line["risk"] is not None] if latest else []
    return tuple(sorted(kept, key=lambda line: line["risk"]))


def trial_figures(lines: Iterable[Line]) -> tuple[Figure, ...]:
    """Both correlations with their intervals; nothing for fewer than three sets."""
    sets = comparable(lines)
    if len(sets) < 3:
        return ()
    found = correlations([line["risk"] for line in sets], [_copying(line) for line in sets])
    return tuple(
        Figure(f"{name}'s correlation of the doctor's risk and copy-paste, over sets of photos", *bounds, len(sets))
        for name, bounds in ((name, (each.value, each.low, each.high)) for name, each in found.items())
    )


def trial_table(lines: Iterable[Line]) -> str:
    """A line a set in Markdown, and the adapter before any of them."""
    lines = list(lines)
    sets = comparable(lines)
    rows = ["| photos of each person | kept | risk | copy-paste | Sim(GT) |", "| --- | ---: | ---: | ---: | ---: |"]
    before = [line for line in lines if line["case"] == BEFORE and sets and line["common"] == sets[0]["common"]]
    for line in (*before, *sets):
        risk = "" if line["risk"] is None else f"{line['risk']:.2f}"
        cells = [estimate({0: line["scores"][metric]}) for metric in ("copy_paste", "sim_gt")]
        words = ["-" if cell is None else f"{cell.value:.3f} ({cell.low:.3f} to {cell.high:.3f})" for cell in cells]
        rows.append(f"| {line['words']} | {line['photos'] or ''} | {risk} | {' | '.join(words)} |")
    return "\n".join(rows) + "\n"


@dataclass(frozen=True, eq=False)
class _Runs:
    """What all sets share."""

    trial: Trial
    bench: Bench
    people: tuple[int, ...]
    test: Test
    slider: Slider
    shared: Mapping[str, Any]

    @classmethod
    def of(cls, trial: Trial, bench: Bench) -> "_Runs":
        shapes = inspect_adapter(trial.adapter).shapes
        branch = "both" if len(shapes) > 1 else next(iter(shapes)).value
        people = unlike_people(trial.people, bench.eyes)
        scenes = [((person,), target_scene(person, number)) for person in people for number in range(trial.targets)]
        test = asked_for(scenes, lambda person: [first_photo(person)], bench.eyes)
        shared = {
            "adapter": file_sha256(trial.adapter),
            "models": model_digests(trial.weights),
            "judge": bench.eyes.judge.fingerprint,
            "sampler_steps": trial.sampler_steps,
            "branch": branch,
            "people": people,
        }
        return cls(trial, bench, people, test, slider_of(branch), shared)

    @property
    def common(self) -> str:
        settings = settings_of(self.trial.recipe, self.settings(self.trial.scratch), self.trial.scratch)
        return digest({**self.shared, "settings": settings, "test": self.test.digest})

    def settings(self, cache: Path) -> tuple[str, ...]:
        trial = self.trial
        return (
            *COMMON,
            *UNWATCHED,
            *TUNING,
            f"adapter.init={trial.adapter}",
            f"adapter.branch={self.shared['branch']}",
            *model_changes(trial.weights, cache),
            *trial.changes,
            f"optim.steps={trial.steps}",
            f"validation.every_steps={trial.steps}",
            f"save.every_steps={trial.steps}",
        )

    def key(self, habit: Habit | None) -> str:
        return digest([self.common, "" if habit is None else repr(habit)])

    def line(self, habit: Habit | None, adapter: Path, found: Mapping[str, Any], seconds: float) -> Line:
        (row,) = self.bench.scores(adapter, self.test, self.slider, (self.slider.usual,), self.trial.sampler_steps)
        people = found.get("people", ())
        return {
            "case": BEFORE if habit is None else habit.name,
            "key": self.key(habit),
            "common": self.common,
            "words": "the adapter before" if habit is None else habit.words,
            "risk": found.get("risk"),
            "photos": sum(person["photos"] for person in people),
            "parts": _mean_parts(people),
            "scores": {name: values for name, values in row.items() if name != "slider"},
            "shared": dict(self.shared),
            "adapter": file_sha256(adapter),
            "seconds": round(seconds, 1),
            "machine": machine(),
            "date": date.today().isoformat(),
            "when": time.time(),
        }


def first_photo(person: int) -> np.ndarray:
    """The photo that every set has and that tells the generator who it is, uint8 RGB [H, W, 3]."""
    return render(first_scene(person), SIDE_PX, SIDE_PX).pixels


def unlike_people(count: int, eyes: Eyes) -> tuple[int, ...]:
    """The first so many people whose faces are found and are unlike each other's.

    Raises ValueError where they are not to be had.
    """
    chosen: dict[int, np.ndarray] = {}
    for person in range(FIRST_PERSON, FIRST_PERSON + TRIED):
        faces = eyes.reader.analysis.faces(first_photo(person))
        if len(faces) != 1:
            continue
        unit = faces[0].embedding / np.linalg.norm(faces[0].embedding)
        if all(float(unit @ other) < UNLIKE for other in chosen.values()):
            chosen[person] = unit
        if len(chosen) == count:
            return tuple(chosen)
    raise ValueError(f"Only {len(chosen)} people unlike each other were found; expected {count}. Ask for fewer.")


def _mean_parts(people: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = people[0]["parts"] if people else ()
    return {name: round(float(np.mean([person["parts"][name] for person in people])), 4) for name in names}


def _copying(line: Line) -> float:
    """The mean copy-paste of a set's images."""
    known = [value for value in line["scores"]["copy_paste"] if value is not None]
    return float(np.mean(known))
