"""`python miniature/lab/measure.py` measures the miniature's models on people and scenes no model was trained on."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from miniature.generation import GUIDANCE, STEPS
from miniature.lab.evidence.dataset import Dataset
from miniature.lab.evidence.faces import Sizes, faces_evidence
from miniature.lab.evidence.figures import Figure, table
from miniature.lab.evidence.images import images_evidence
from miniature.lab.folders import LAB
from miniature.lab.recipes.cards import machine
from miniature.lab.recipes.scenes import TRAINING_PEOPLE
from miniature.weights_folder import WEIGHTS
from training.evaluation.records import write_text
from withanyone_core.command import run_command

OUT = LAB / "EVIDENCE.md"
SCENES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every target was reached, 1 where one was missed, 2 for anything given wrongly."""
    return run_command("measure", _parser(), _run, arguments)


def _run(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads or torch.get_num_threads())
    dataset = Dataset(options.seed, options.first_person)
    faces = faces_evidence(options.weights, dataset, Sizes(scenes=options.scenes))
    images = images_evidence(options.weights, dataset, options.scenes)
    write_text(options.out, report(faces, images, options))
    missed = [figure.name for figure in (*faces, *images) if not figure.reached]
    sys.stdout.write(f"{options.out}: {len(missed)} targets missed{': ' if missed else ''}{', '.join(missed)}\n")
    return 1 if missed else 0


def report(faces: Sequence[Figure], images: Sequence[Figure], options: argparse.Namespace) -> str:
    """The figures in Markdown, with where and when they were measured."""
    return f"""# What the miniature's models can do

Measured by `python miniature/lab/measure.py --seed {options.seed} --first-person {options.first_person}` on
{date.today().isoformat()}, {machine()}, on people and scenes that no model was trained on:
{options.scenes} scenes for each number of people. A target is met by the figure itself; its 95 % interval stands beside
it.

## Faces

{table(faces)}
## Images

Images are generated from captions in {STEPS} steps at guidance {GUIDANCE:g}. What a caption names is read off them by
classifiers, which also answer for the renderer's own images: what they miss there is their own mistake. Decoded images
are the renderer's own, encoded and decoded, with noise of that deviation on latents whose own deviation is about 1.

{table(images)}"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python miniature/lab/measure.py", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weights")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the report (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=SCENES, metavar="N", help="for each number of people")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of scenes and noise (default: %(default)s)")
    parser.add_argument("--first-person", type=int, default=TRAINING_PEOPLE, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
