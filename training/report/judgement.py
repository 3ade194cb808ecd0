"""Judgement of a run: the chosen checkpoint's validation against that of the untrained adapter, in one line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..configuration.finetune import Finetune
from ..loop.early_stopping import LEAST_IMAGES, ValidationScores, Word, compare, scores_at


@dataclass(frozen=True)
class Judgement:
    """What a run has brought: a word (None where nothing can be said), one line that begins with it, and how it was
    found.
    """

    word: Word | None
    line: str
    how: str


def judge(first: Mapping[str, Any], chosen: Mapping[str, Any], settings: Finetune) -> Judgement:
    """The chosen checkpoint's validation against that of step 0; both empty where nothing was validated."""
    start, later = (scores_at(each) if each else ValidationScores(0) for each in (first, chosen))
    found = None if first is chosen else compare(start, later, start, settings.seed)
    if found is None:
        return Judgement(None, "not judged", _why_not(start, later))
    word = found.word(settings.early_stopping.max_copy_paste_increase)
    against = {"better": "better than", "same": "same as", "worse": "worse than", "copies": "copies more than"}[word]
    copying = "not known" if found.copy_paste is None else str(found.copy_paste)
    return Judgement(
        word,
        f"{against} step {start.step}: Sim(GT) {found.sim_gt}, copy-paste {copying}",
        f"Differences of step {later.step} from step {start.step} with 95 % intervals of a paired bootstrap: "
        f"{found.images} images, each compared with the one of the same prompt and seed. The checkpoint was chosen on "
        "these images too, so its gain is rather too high than too low; evaluate.py judges it on others.",
    )


def _why_not(start: ValidationScores, later: ValidationScores) -> str:
    if not start.sim_gt and not later.sim_gt:
        return (
            "No judge was named (validation.judges), or none could judge an image of a held-out photo, so likeness and "
            "copying were not measured."
        )
    if start.setup != later.setup:
        return (
            f"The images of step {start.step} and of step {later.step} were drawn or judged with other settings, so "
            "they cannot be compared."
        )
    if start.step == later.step:
        return "No validation was taken after the first."
    return (
        f"Fewer than {LEAST_IMAGES} images have a score at both step {start.step} and step {later.step}. Chance alone "
        "changes so few in one direction too often. Raise validation.seeds or num_images, or "
        "prepare with more photos held out."
    )
