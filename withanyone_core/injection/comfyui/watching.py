"""Whether an Apply's people were followed in a sampling run, and if not, why.

A run that is cut in two (SplitSigmas, KSamplerAdvanced) is one: a part that ends above sigma 0 continues in the next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from torch import nn

from ...regions.layout import PlacedFace
from ...timing import Window
from .forward import Forward
from .moment import Moment

_SAME_SIGMA = 1e-3  # two parts of one schedule meet up to rounding
_FORWARDS = ("forward", "_forward", "forward_orig")
LONGER = "Widen start_percent and end_percent."


@dataclass(frozen=True)
class Part:
    """The sigmas that a run went through, and the model sampling that says which percent they are."""

    first: float
    last: float
    sampling: Any

    @classmethod
    def until(cls, moment: Moment) -> "Part":
        """The part of a run whose last call this was."""
        schedule = moment.schedule
        if schedule is None or len(schedule) == 0:
            # Taken for a whole run where ComfyUI does not say which sigmas it has.
            return cls(float("inf"), 0.0, moment.sampling)
        return cls(schedule[0].item(), schedule[-1].item(), moment.sampling)

    def sigma(self, percent: float) -> float:
        return self.sampling.percent_to_sigma(percent)


@dataclass
class Watch:
    """What the model calls of a run reported.

    opened    whether a call fell into the Apply's window
    active    people into whose windows a call fell, the Apply's included
    served    people who were to be seen by some cells in some call
    followed  those of them whom the model's blocks really served
    blocks    whether the model's blocks ran in any call, with or without people
    culprit   who replaced the model's forward, where that could be seen
    moment    the last call's; None before the first
    """

    opened: bool = False
    active: set[int] = field(default_factory=set)
    served: set[int] = field(default_factory=set)
    followed: set[int] = field(default_factory=set)
    blocks: bool = False
    culprit: str = ""
    moment: Moment | None = None


class Watcher:
    """Follows the runs of one Apply; `watch` is of the current run."""

    def __init__(self, faces: Sequence[PlacedFace], window: Window) -> None:
        self.faces = faces
        self.window = window
        self.watch = Watch()
        self._cuts: dict[float, set[int]] = {}  # where runs ended above sigma 0, and who was followed until there

    def before_call(self, moment: Moment, people: Sequence[int]) -> None:
        self.watch.moment = moment
        self.watch.opened |= moment.is_in(self.window)
        self.watch.active.update(people)

    def after_call(self, forward: Forward, diffusion_model: nn.Module) -> None:
        people = {person for served in forward.regions for person in served.people}
        self.watch.served |= people
        if forward.blocks_run:
            self.watch.blocks = True
            self.watch.followed |= people
        elif people and not self.watch.culprit:
            self.watch.culprit = foreign_forward(diffusion_model)

    def finish(self) -> str | None:
        """What to tell the user at the end of a run; None where everybody was followed or is still to come."""
        if self.watch.moment is None:
            return None
        part = Part.until(self.watch.moment)
        before = self._followed_before(part)
        followed = self.watch.followed | (before or set())
        if before is None:
            self._cuts.clear()
        if part.last > 0:
            self._cuts[part.last] = followed
        missing = [
            person
            for person in range(len(self.faces))
            if person not in followed and not self._comes_later(person, part)
        ]
        return self._cause(missing, part) if missing else None

    def _followed_before(self, part: Part) -> set[int] | None:
        """Who was followed in the parts that this one continues; None where it begins a run of its own.

        They stay known: ComfyUI runs a last part alone where only that has changed.
        """
        return next((people for cut, people in self._cuts.items() if abs(part.first - cut) <= _SAME_SIGMA * cut), None)

    def _comes_later(self, person: int, part: Part) -> bool:
        """Whether the person was in no window of this part of a run, and one of theirs lies below it."""
        own = self.faces[person].window
        start, end = max(self.window.start, own.start), min(self.window.end, own.end)
        # A window may begin above the sigma where this part ends and still hold none of its steps.
        waits = person not in self.watch.active and start < end
        return waits and part.last > 0 and part.sigma(end) <= part.last

    def _cause(self, missing: Sequence[int], part: Part) -> str | None:
        if any(person in self.watch.served for person in missing):
            names = ", ".join(f"“{self.faces[person].identity.name}”" for person in missing)
            who = "Nobody was placed" if len(missing) == len(self.faces) else f"{names} not placed"
            return _skipped(self.watch, who)
        late = [person for person in missing if person not in self.watch.active]
        if not late:
            return None  # they cover no cell, or their part of the image is unknown: said when that was seen
        if not self.watch.opened:
            return f"Nobody was placed: Apply WithAnyone {_outside(self.window, part)} {LONGER}"
        return f"Not placed: {'; '.join(self._late(person, part) for person in late)} {LONGER}"

    def _late(self, person: int, part: Part) -> str:
        face = self.faces[person]
        subject = f"“{face.identity.name}”, whose Place Face"
        if self.window.is_always or face.window.start > face.window.end:
            return f"{subject} {_outside(face.window, part)}"
        return (
            f"{subject} works {_span(face.window, part)} and whose Apply WithAnyone works {_span(self.window, part)}; "
            f"{_run(part)} and has no step in both."
        )


def _skipped(watch: Watch, who: str) -> str:
    if watch.blocks:
        return (
            f"{who}: a step cache skipped FLUX's blocks at every step in which WithAnyone adds people. Let it begin "
            f"later or skip less. {LONGER}"
        )
    culprit = watch.culprit or "another node"
    return (
        f"{who}: {culprit} replaces the forward of the model, and its replacement does not run the blocks where "
        "WithAnyone adds the people. Remove that node, or load the model again and apply WithAnyone without it."
    )


def _outside(window: Window, part: Part) -> str:
    if window.start > window.end:
        return f"starts at {window.start:g} of the denoising, after its end at {window.end:g}."
    return f"works {_span(window, part)}; {_run(part)} and has no step in it."


def _span(window: Window, part: Part) -> str:
    sigmas = f"sigma {part.sigma(window.start):.3f} to {part.sigma(window.end):.3f}"
    return f"from {window.start:g} to {window.end:g} of the denoising ({sigmas})"


def _run(part: Part) -> str:
    return f"this run goes from sigma {part.first:.3f} to {part.last:.3f}"


def foreign_forward(diffusion_model: nn.Module) -> str:
    """Which node pack replaced a forward of the model; empty where none did, or none can be named."""
    for name in _FORWARDS:
        function: Any = getattr(diffusion_model, name, None)  # anybody's
        module = getattr(function, "__globals__", {}).get("__name__", "comfy.")  # of the function that really runs
        if not module.startswith(("comfy.", "torch.")):
            return _pack_of(function.__code__.co_filename) or f"“{module}”"
    return ""


def _pack_of(file: str) -> str:
    folders = PurePath(file).parts
    if "custom_nodes" not in folders[:-1]:
        return ""
    return f"the node pack “{folders[folders.index('custom_nodes') + 1]}”"


_said: ContextVar[set[str] | None] = ContextVar("withanyone_said", default=None)


@contextmanager
def one_run() -> Iterator[set[str]]:
    """What was said about the run so far, shared by all Apply nodes of a MODEL: they name a common cause once."""
    said = _said.get()
    shared = set() if said is None else said
    token = _said.set(shared)
    try:
        yield shared
    finally:
        _said.reset(token)
