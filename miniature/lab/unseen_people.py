"""What the commands share that measure on people nothing was trained on: their options, and what to type again."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from withanyone_core.command import positive

from ..weights_folder import WEIGHTS
from .evidence.dataset import PEOPLE
from .folders import SCRATCH
from .recipes.scenes import TRAINING_PEOPLE

USUAL = {"seed": 0, "first_person": TRAINING_PEOPLE, "people": PEOPLE}


def add_options(parser: argparse.ArgumentParser, images: int, out: Path) -> None:
    """
    images  for each number of people, by default
    out     of the report, by default
    """
    add = parser.add_argument
    add("--images", type=positive, default=images, metavar="N", help="for each number of people (default: %(default)s)")
    add("--seed", type=int, default=USUAL["seed"], metavar="N", help="of scenes and noise (default: %(default)s)")
    add("--first-person", type=int, default=TRAINING_PEOPLE, metavar="N", help="(default: %(default)s)")
    add("--people", type=positive, default=PEOPLE, metavar="N", help="the judge tells apart (default: %(default)s)")
    add("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weights")
    add("--out", type=Path, default=out, metavar="FILE", help="the report (default: %(default)s)")
    # One folder for all of them: the judge's gallery of the people is made once.
    scratch = SCRATCH / "evaluation"
    add("--scratch", type=Path, default=scratch, metavar="DIR", help="what was measured (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="of torch")


def retyped(options: argparse.Namespace, script: str, defaults: Mapping[str, float]) -> str:
    """What to type for the same figures: the script, with every option that is not its default.

    defaults  of the script's own options that change a figure, beside USUAL
    """
    given = {name: (getattr(options, name), usual) for name, usual in {**USUAL, **defaults}.items()}
    changed = [
        f" --{name.replace('_', '-')} {_typed(value)}" for name, (value, usual) in given.items() if value != usual
    ]
    return f"python miniature/lab/{script}{''.join(changed)}"


def _typed(value: float) -> str:
    # Whole numbers as they are: `g` would round those of seven digits.
    return f"{value:g}" if isinstance(value, float) else str(value)
