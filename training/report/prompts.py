"""What the report of a run says of the user's own prompts: images and scores, and what these cannot be."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..loop.prompt_scores import MEASURES
from ..loop.prompts import COMPARED_PHOTOS, PromptScene
from .blocks import Block, Cell, Heading, ImageFile, Paragraph, Points, Table

_NAMES = {"sim_photos": "Sim(photos)", "sim_ref": "Sim(Ref)", "copy_paste": "copy-paste", "leakage": "leakage"}
_WHAT = (
    "Images of your prompts (validation.prompts), always from the same noise. No photo shows what they describe, so "
    "they are in no judgement: the first line of this report, the best checkpoint and early stopping go by the "
    "held-out photos alone."
)
_LEGEND = (
    f"Sim(photos): mean cosine of a generated face with up to {COMPARED_PHOTOS} photos of the person other than the "
    "reference, held-out ones first. It stands in for Sim(GT), which is not defined without a target photo.",
    "copy-paste compares with the same photos in place of the target, one after the other: +1 repeats the reference, 0 "
    "is as near to one as to the other. -1, the target itself, cannot be reached, and there is no value for somebody "
    "with a single photo.",
)


def prompt_blocks(
    scenes: tuple[PromptScene, ...],
    folders: list[str],
    previews: str,
    validations: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Iterator[Block]:
    """Nothing where no prompts were given.

    folders      of the previews that are shown, in the folder `previews` of the run
    validations  the first one, and that of the chosen checkpoint
    """
    if not scenes or not folders:
        return
    yield Heading("Your prompts")
    yield Paragraph(_WHAT)
    yield Table(("prompt", "reference", *folders), tuple(_images(scene, folders, previews) for scene in scenes))
    first, chosen = (validation.get("prompts") or {} for validation in validations)
    if any(first.get(measure) or chosen.get(measure) for measure in MEASURES):
        yield Table(
            ("", *(f"step {validation['step']}" for validation in validations)), tuple(_scores(scenes, first, chosen))
        )
        yield Points(_LEGEND)


def _images(scene: PromptScene, folders: list[str], previews: str) -> tuple[Cell, ...]:
    plan = scene.plan
    references = tuple(
        ImageFile(f"{previews}/truth/{scene.name}_reference_{number}.png", name)
        for number, name in enumerate(plan.people, start=1)
    )
    generated = ((ImageFile(f"{previews}/{folder}/{scene.name}.png", folder),) for folder in folders)
    # A bar would end the cell of a table in Markdown.
    words = f"{plan.prompt} ({', '.join(plan.people)})".replace("|", "/").replace("\n", " ")
    return (words, references, *generated)


def _scores(
    scenes: tuple[PromptScene, ...], first: Mapping[str, Any], chosen: Mapping[str, Any]
) -> Iterator[tuple[Cell, ...]]:
    """A row a measure for all prompts, then the likeness in each of them."""
    for measure, name in _NAMES.items():
        if first.get(measure) or chosen.get(measure):
            yield name, *(_number((each.get(measure) or {}).get("mean")) for each in (first, chosen))
    for scene in scenes:
        values = [each.get("images", {}).get(scene.name, {}).get("sim_photos") for each in (first, chosen)]
        yield f"Sim(photos) of {scene.name}", *map(_number, values)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
