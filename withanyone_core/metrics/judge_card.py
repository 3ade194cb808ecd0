"""Judges' cards: a small JSON object that says what input a recognizer's ONNX file wants."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..faces.alignment import ARCFACE, Template, are_spread

CARDS = Path(__file__).parent / "judge_cards"
TEMPLATES = {"arcface": ARCFACE}
COLOURS = ("rgb", "bgr")
LAYOUTS = ("nchw", "nhwc")
_REQUIRED = ("name", "onnx", "size_px", "colours", "mean", "std")


@dataclass(frozen=True)
class Card:
    """What a recognizer wants to be given; one JSON object with these keys.

    name, onnx    its name in reports, and its file, beside the card unless given as an absolute path
    size_px       side of the square crop
    colours       "rgb" or "bgr"
    mean, std     a level 0..255 is fed as (level - mean) / std; one number, or three in the order of `colours`
    template      "arcface", or {"points_px": five [x, y], "size_px": [width, height]}: see alignment.Template
    layout        "nchw" or "nhwc"
    vector        length of its embeddings, 0 where the file itself says so
    output        name of the graph's output that holds them; empty for the first
    trained_with  whether a training loss used it
    about         for people: where it is from, what of this is unverified
    """

    name: str
    onnx: str
    size_px: int
    colours: str
    mean: float | list[float]
    std: float | list[float]
    template: str | dict[str, Any] = "arcface"
    layout: str = "nchw"
    vector: int = 0
    output: str = ""
    trained_with: bool = False
    about: str = ""


def shipped_cards() -> dict[str, Path]:
    """The cards that come with the pack by file name without .json; their ONNX files do not come with it."""
    return {path.stem: path for path in sorted(CARDS.glob("*.json"))}


def card_of(onnx: Path) -> Path:
    """The card of a recognizer's file. Raises FileNotFoundError where there is none."""
    beside = onnx.with_suffix(".json")
    if beside.is_file():
        return beside
    for shipped in shipped_cards().values():
        if read_card(shipped).onnx == onnx.name:
            return shipped
    known = ", ".join(read_card(shipped).onnx for shipped in shipped_cards().values())
    raise FileNotFoundError(
        f"Nothing says what input {onnx.name} wants. Put a card {beside.name} beside it ({', '.join(_REQUIRED)}), or "
        f"give the file one of the names that are known: {known}."
    )


def read_card(path: Path) -> Card:
    """Raises FileNotFoundError, or ValueError naming the file and the key that is wrong."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no judge's card {path}. Shipped ones: {', '.join(shipped_cards())}.")
    try:
        # Editors on Windows write a byte order mark first.
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"The judge's card {path.name} is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"The judge's card {path.name} is {type(values).__name__}; expected an object.")
    known = [field.name for field in fields(Card)]
    unknown = [key for key in values if key not in known]
    missing = [key for key in _REQUIRED if key not in values]
    if unknown or missing:
        wrong = f"has the unknown key {unknown[0]!r}" if unknown else f"lacks {missing[0]!r}"
        raise ValueError(f"The judge's card {path.name} {wrong}. It may have {', '.join(known)}.")
    card = Card(**values)
    _check_values(card, path.name)
    return card


def _check_values(card: Card, source: str) -> None:
    wrong = {
        "name": not (isinstance(card.name, str) and card.name),
        "onnx": not (isinstance(card.onnx, str) and card.onnx),
        # By type and not by isinstance: JSON's true would pass for the int 1.
        "size_px": type(card.size_px) is not int or not 16 <= card.size_px <= 1024,
        "colours": card.colours not in COLOURS,
        "layout": card.layout not in LAYOUTS,
        "mean": not _is_levels(card.mean),
        "std": not _is_levels(card.std) or 0 in np.atleast_1d(card.std),
        "vector": type(card.vector) is not int or card.vector < 0,
        "output": not isinstance(card.output, str),
        "trained_with": not isinstance(card.trained_with, bool),
    }
    expected = {
        "size_px": "16 to 1024",
        "colours": " or ".join(COLOURS),
        "layout": " or ".join(LAYOUTS),
        "mean": "one or three numbers",
        "std": "one or three numbers, none of them 0",
        "vector": "a number of numbers",
        "trained_with": "true or false",
    }
    for key in (key for key, is_wrong in wrong.items() if is_wrong):
        raise ValueError(
            f"The judge's card {source} has {key} = {getattr(card, key)!r}; expected {expected.get(key, 'a text')}."
        )
    template_of(card)


def _is_levels(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return len(numbers) in (1, 3) and all(type(number) in (int, float) and np.isfinite(number) for number in numbers)


def template_of(card: Card) -> Template:
    """Where the landmarks of an upright face lie. Raises ValueError for what is no template."""
    if isinstance(card.template, str) and card.template in TEMPLATES:
        return TEMPLATES[card.template]
    own = {} if isinstance(card.template, str) else card.template
    try:
        points = np.array(own["points_px"], dtype=np.float64)
        width, height = (float(side) for side in own["size_px"])
    except (TypeError, KeyError, ValueError, IndexError):
        points, width, height = np.zeros(0), 0.0, 0.0
    if points.shape != (5, 2) or not are_spread(points) or not (width > 0 and height > 0):
        raise ValueError(
            f"The card of {card.name} has the template {card.template!r}; expected {', '.join(TEMPLATES)}, or "
            '{"points_px": five [x, y], "size_px": [width, height]}.'
        )
    return Template(points, width, height)
