"""Prompts of one's own for validation: from the configuration, or from a file as other trainers have them."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from withanyone_core.files.unicode import one_form
from withanyone_core.regions.presets import NAMED_PLACES

from .reading import Section, located, mistakes
from .texts import QUOTES

ROW = "row"  # beside all others who stand in it
PLACES = (ROW, *NAMED_PLACES)
Place = tuple[float, float, float, float] | str
Size = Annotated[int, Field(ge=64, le=4096, multiple_of=16)]
# What ai-toolkit and kohya's scripts write behind a prompt, and which setting it is here.
_FLAGS = {"w": "width", "h": "height", "d": "seed"}


class PromptSettings(Section):
    """A prompt to be generated at each validation.

    prompt  what the image shows
    people  who is in it: each name of the cache with a box [x1, y1, x2, y2] in fractions of the image, or with left,
            middle, right or row; or only their names, who then stand in a row. Left out: those whose names the prompt
            says, or else one person, the next in turn
    seed    of its noise; the run's own where none is given
    width, height  in pixels; those of most cached photos where none are given
    name    of its images, besides its number
    """

    prompt: str
    people: dict[str, Place] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    width: Size | None = None
    height: Size | None = None
    name: str = ""

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; expected what the image shows")
        return value.strip()

    @field_validator("people", mode="before")
    @classmethod
    def _places(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, Sequence):
            names = [one_form(str(name)) for name in value]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"names {twice} twice")
            value = dict.fromkeys(names, ROW)
        if not isinstance(value, Mapping):
            raise ValueError(f"is {value!r}; expected names with a box each, or a list of names")
        return {one_form(str(name)): _place(str(name), place) for name, place in value.items()}

    @model_validator(mode="after")
    def _has_a_whole_size(self) -> "PromptSettings":
        if (self.width is None) != (self.height is None):
            raise ValueError("only one of width and height is given; expected both, or none")
        return self


def read_prompts(value: Any, info: ValidationInfo) -> tuple[PromptSettings, ...]:
    """The prompts of a list, of a mapping of names to prompts, or of a .yaml, .json or .txt file with either.

    Raises ValueError listing every entry with a mistake by its number.
    """
    entries = list(_entries(located(value, info) if isinstance(value, str) else value))
    found, wrong = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(PromptSettings.model_validate(_tree(entry)))
        except ValidationError as error:
            wrong += [f"entry {number}: {line}" for line in mistakes(PromptSettings, error)]
        except ValueError as error:
            wrong.append(f"entry {number}: {error}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(found)


def check_count(people: int, most: int) -> None:
    """ValueError for more people than data.max_people, for no photo of so many is trained on."""
    if people > most:
        raise ValueError(f"shows {people} people, and no photo of more than {most} is trained on (data.max_people)")


Prompts = Annotated[tuple[PromptSettings, ...], BeforeValidator(read_prompts)]


def _entries(value: Any) -> Iterator[Any]:
    """One item a prompt: a text, a mapping or settings."""
    if isinstance(value, Path):
        yield from _entries(_content(value))
    elif isinstance(value, Mapping):
        # SimpleTuner's library: a short name and its prompt.
        for name, entry in value.items():
            yield {"name": str(name), **(entry if isinstance(entry, Mapping) else {"prompt": entry})}
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from value
    elif value is not None:
        raise ValueError(f"are {value!r}; expected a list of prompts, or a .yaml, .json or .txt file with one")


def _content(path: Path) -> Any:
    """A file's list or mapping; of YAML every value as its text, for prompts and names are taken as typed."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() in (".yaml", ".yml"):
            return yaml.load(text, yaml.BaseLoader) or []
        if path.suffix.lower() == ".json":
            return json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}. {QUOTES}") from error
    if path.suffix.lower() != ".txt":
        raise ValueError(f"{path.name} is no .yaml, .json or .txt file")
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _tree(entry: Any) -> Any:
    if isinstance(entry, str):
        return _flagged(entry)
    if not isinstance(entry, Mapping | PromptSettings):
        raise ValueError(f"is {entry!r}; expected a prompt, or prompt: TEXT with people, seed, width and height")
    return entry


def _flagged(text: str) -> dict[str, Any]:
    """`a photo of anna --w 768 --h 512 --d 7` as settings."""
    prompt, *flags = re.split(r"(?:^|\s)--(?=\w)", text)
    tree: dict[str, Any] = {"prompt": prompt}
    for flag in flags:
        name, _, value = flag.strip().partition(" ")
        if name not in _FLAGS:
            known = ", ".join(f"--{flag} ({meaning})" for flag, meaning in _FLAGS.items())
            raise ValueError(f"--{name} is not known; {known} are. A prompt with -- in it is written as prompt: TEXT")
        tree[_FLAGS[name]] = value.strip()
    return tree


def _place(name: str, place: Any) -> Place:
    """Raises ValueError for what is no place, with the person's name."""
    if isinstance(place, str):
        if place not in PLACES:
            close = get_close_matches(place, PLACES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(PLACES)}."
            raise ValueError(f"places {name} at {place!r}; {hint} Or give a box [x1, y1, x2, y2].")
        return place
    try:
        x1, y1, x2, y2 = (float(number) for number in place)
    except (TypeError, ValueError):
        raise ValueError(f"places {name} at {place!r}; expected a box [x1, y1, x2, y2] of four numbers") from None
    if not all(math.isfinite(number) and 0 <= number <= 1 for number in (x1, y1, x2, y2)):
        raise ValueError(
            f"places {name} at {list(place)}; expected fractions of the image from 0 to 1: pixels over its width and "
            "height"
        )
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"places {name} at {list(place)}, which has no area; expected x1 < x2 and y1 < y2")
    return x1, y1, x2, y2
