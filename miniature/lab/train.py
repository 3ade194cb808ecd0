"""`python miniature/lab/train.py NAME` renders, trains and exports one model of the miniature world, with its card.

`all` makes one after the other, each from what those before it have learned; the adapter is train_adapter.py's.
"""

import argparse
import importlib
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from miniature.lab.folders import SCRATCH
from miniature.lab.recipes.cards import make_card, write_card
from miniature.lab.recipes.training import Recipe, Run, load_state, new_run, train
from miniature.weights_folder import WEIGHTS
from withanyone_core.command import positive, run_command

UNFINISHED = 3  # the exit status where --minutes were up
ALL = "all"
RESUMES = "The same command with --resume continues from the last saved state."
# In the order in which they need each other. Each module holds a RECIPE; named and not imported, for what one recipe
# needs, another does not.
RECIPES = {
    "text": "miniature.lab.recipes.text",
    "recognizer": "miniature.lab.recipes.recognizer",
    "detector": "miniature.lab.recipes.detector",
    "judge": "miniature.lab.recipes.judge",
    "siglip": "miniature.lab.recipes.siglip",
    "classifiers": "miniature.lab.recipes.classifiers",
    "autoencoder": "miniature.lab.recipes.autoencoder",
    "base_model": "miniature.lab.recipes.base_model",
    "decoder": "miniature.lab.recipes.decoder",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a whole run, 3 where --minutes ended it before its last step, 2 for anything given wrongly."""
    return run_command(
        "train", _parser(), _run, arguments, lambda options: options.name is None, RESUMES, level=logging.INFO
    )


def _run(options: argparse.Namespace) -> int:
    return _make_all(options) if options.name == ALL else _make(options, options.name, options.minutes)


def recipe_of(name: str) -> Recipe:
    """The recipe of a model of RECIPES."""
    return importlib.import_module(RECIPES[name]).RECIPE


def _make_all(options: argparse.Namespace) -> int:
    """Every model, as far as `--minutes` reach; with `--resume` those that were finished are passed over."""
    started = time.monotonic()
    for name in RECIPES:
        left = None if options.minutes is None else options.minutes - (time.monotonic() - started) / 60
        if left is not None and left <= 0:
            return UNFINISHED
        code = _make(options, name, left)
        if code:
            return code
    return 0


def _make(options: argparse.Namespace, name: str, minutes: float | None) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipe_of(name)
    state = options.scratch / f"{recipe.name}.state.safetensors"
    run = new_run(recipe, options.seed, options.steps)
    # Of all models only one was interrupted: those after it have no state yet, and begin.
    if options.resume and (options.name != ALL or state.is_file()):
        load_state(run, state)
        run.steps = options.steps or run.steps
    if run.step < run.steps or options.name != ALL:
        _train(options, name, recipe, run, state, minutes)
    return 0 if run.step >= run.steps else UNFINISHED


def _train(
    options: argparse.Namespace, name: str, recipe: Recipe, run: Run, state: Path, minutes: float | None
) -> None:
    """Trains, exports and writes the card."""
    batches = recipe.batches(options.scratch, run.seed)
    train(recipe, run, batches, state, minutes)
    options.out.mkdir(parents=True, exist_ok=True)
    files = recipe.export(run.average if recipe.average else run.module, options.out)
    source = f"{RECIPES[name].replace('.', '/')}.py"
    card = make_card(recipe.name, files, options.out, source, run, batches.seconds)
    sys.stdout.write(f"{write_card(card, options.out)}: step {run.step} of {run.steps}, loss {run.loss:.4f}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/train.py",
        description="Makes one model of the miniature world. Uses CUDA where there is a device. Downloads nothing.",
    )
    add = parser.add_argument
    add("name", nargs="?", choices=[ALL, *RECIPES], metavar="NAME", help=", ".join([ALL, *RECIPES]))
    add("--out", type=Path, default=WEIGHTS, metavar="DIR", help="folder for weights and card")
    add("--scratch", type=Path, default=SCRATCH, metavar="DIR", help="folder for rendered images and states")
    add("--steps", type=positive, metavar="N", help="steps in all (default: the recipe's)")
    add("--minutes", type=float, metavar="M", help="stop after so long; --resume continues from there")
    add("--resume", action="store_true", help="continue from the last saved state")
    add("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="of torch (default: as many as there are cores)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
