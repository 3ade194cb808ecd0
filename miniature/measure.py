"""`python miniature/measure.py` measures the miniature's models on people and scenes that nothing was trained on."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from miniature.evidence.faces import Sizes, faces_evidence
from miniature.evidence.figures import Figure, table
from miniature.evidence.pictures import pictures_evidence
from miniature.recipes.cards import machine
from miniature.weights_folder import WEIGHTS

OUT = Path(__file__).resolve().parent / "EVIDENCE.md"
SCENES = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every target was reached, 1 where one was missed, 2 for anything given wrongly."""
    logging.basicConfig(level=logging.WARNING, format="measure: %(message)s")
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    try:
        faces = faces_evidence(options.weights, Sizes())
        pictures = pictures_evidence(options.weights, options.scenes)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"measure: {error}\n")
        return 2
    written = options.out.with_name(f"{options.out.name}.part")
    written.write_text(report(faces, pictures), encoding="utf-8")
    os.replace(written, options.out)
    missed = [figure.name for figure in (*faces, *pictures) if not figure.reached]
    sys.stdout.write(f"{options.out}: {len(missed)} targets missed{': ' if missed else ''}{', '.join(missed)}\n")
    return 1 if missed else 0


def report(faces: Sequence[Figure], pictures: Sequence[Figure]) -> str:
    """The figures in Markdown, with where and when they were measured."""
    return f"""# What the miniature's models can do

Measured by `python miniature/measure.py` on {date.today().isoformat()}, {machine()}, on people and
scenes that no model was trained on. A target is met by the figure itself; its 95 % interval stands beside it.

## Faces

{table(faces)}
## Pictures

Pictures are painted from captions in 20 steps at guidance 4. What a caption names is read off them by classifiers,
which also answer for the renderer's own pictures: what they miss there is their own mistake.

{table(pictures)}"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python miniature/measure.py", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weights")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the report (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=SCENES, metavar="N", help="captions painted")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
