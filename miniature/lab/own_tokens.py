"""`python miniature/lab/own_tokens.py` measures what learning a person's own tokens brings, on people never trained on.

Renders photos of unseen people, prepares them, learns each one's tokens by training/recipes/tokens.yaml for the shipped
adapter, generates each before and after, and lets the judge compare. A run that was stopped resumes with the next one.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from miniature.lab.evidence.faces import JUDGE
from miniature.lab.evidence.figures import Figure, table
from miniature.lab.evidence.own_tokens import CHANGE, SECTION, Eyes, Trial, cache_of, figures_of, measure_people
from miniature.lab.evidence.results import Results, key_of
from miniature.lab.folders import LAB, SCRATCH
from miniature.lab.recipes.cards import machine
from miniature.lab.steering import DETECTION_PX, shipped_steered_generator
from miniature.weights_folder import ADAPTER, FACES, WEIGHTS
from withanyone_core.command import run_command
from withanyone_core.faces.analysis import load_face_analysis
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.judges import load_judge

OUT = LAB / "TOKENS.md"
PEOPLE, PHOTOS, IMAGES, STEPS = 24, 8, 8, 150
RESUMES = "The same command resumes with the next person."


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where own tokens help, 1 where they do not or copy more, 2 for anything given wrongly, 130 if interrupted."""
    return run_command("own_tokens", _parser(), _run, arguments, interrupted=RESUMES)


def _run(options: argparse.Namespace) -> int:
    warnings.filterwarnings("ignore", "Mismatch dtype")  # T5's norms in bfloat16 are slow, but too small to matter
    torch.set_num_threads(options.threads or torch.get_num_threads())
    adapter = options.adapter or options.weights / ADAPTER
    generator = shipped_steered_generator(options.weights, adapter)
    asked = {name: getattr(options, name) for name in ("photos", "images", "steps", "bf16")}
    key = key_of(options.weights, asked | {"adapter": file_sha256(adapter), "changes": options.changes})
    trial = Trial(
        options.weights, adapter, options.scratch / key, people=options.people, changes=tuple(options.changes), **asked
    )
    analysis = load_face_analysis(options.weights / FACES, det_size=DETECTION_PX)
    eyes = Eyes(generator, analysis, load_judge(options.weights / JUDGE))
    results = Results(options.scratch, key)
    measure_people(trial, eyes, cache_of(trial), results)
    people = [results.rows(SECTION)[number] for number in range(options.people)]
    figures = figures_of(people)
    written = options.out.with_name(f"{options.out.name}.part")
    written.write_text(report(figures, people, trial), encoding="utf-8")
    os.replace(written, options.out)
    missed = [figure.name for figure in figures if not figure.reached]
    sys.stdout.write(f"{options.out}: {verdict(figures)}\n")
    return 1 if missed else 0


def verdict(figures: Sequence[Figure]) -> str:
    """What the two changes say: a change whose interval holds 0 was not seen."""
    words = []
    for figure in figures:
        if figure.name.startswith(CHANGE):
            name, seen = figure.name.removeprefix(CHANGE), "not seen" if figure.low <= 0 <= figure.high else "seen"
            words.append(f"{name} {figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}], {seen}")
    return "; ".join(words)


def report(figures: Sequence[Figure], people: Sequence[dict[str, Any]], trial: Trial) -> str:
    """The figures in Markdown, with where, when and how they were measured."""
    rows = [
        f"| {line['name']} | {_likeness(line['before'])} | {_likeness(line['after'])} | {line['seconds']:.0f} s |"
        for line in people
    ]
    return f"""# What a person's own tokens bring

Measured by `python miniature/lab/own_tokens.py` on {date.today().isoformat()}, {machine()}, on {trial.people} people
whom no model was trained on. Each was learned from {trial.photos} photos at most in {trial.steps} steps, the adapter
staying as it is. Before: an identity made from the same photos, their face embeddings combined by mean, which is also
what the tokens start from. Both were then generated in the same {trial.images} scenes from the same noise, half of them
beside somebody without own tokens. The judge is a recognizer that no training saw. Sim(GT) is the likeness with the
person as the scene's renderer draws them; Sim(Ref) and copy-paste are against each of the photos learned from, in the
mean. Intervals are over people.

{table(figures)}
{verdict(figures)}.

## Each person's Sim(GT)

| who | from the photos | own tokens | training |
| --- | ---: | ---: | ---: |
{chr(10).join(rows)}
"""


def _likeness(scores: Sequence[Sequence[float | None]]) -> str:
    return f"{np.nanmean(np.array(scores, float)[:, 0]):.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/own_tokens.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("changes", nargs="*", metavar="key=value", help="settings of finetune.py, such as optim.lr=3e-3")
    add("--people", type=int, default=PEOPLE, metavar="N", help="whose tokens are learned (default: %(default)s)")
    add("--photos", type=int, default=PHOTOS, metavar="N", help="of each (default: %(default)s)")
    add("--steps", type=int, default=STEPS, metavar="N", help="of each training (default: %(default)s)")
    add("--images", type=int, default=IMAGES, metavar="N", help="generated of each (default: %(default)s)")
    add("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weights")
    add("--adapter", type=Path, metavar="FILE", help="another adapter than the weights' own")
    add("--out", type=Path, default=OUT, metavar="FILE", help="the report (default: %(default)s)")
    add(
        "--scratch",
        type=Path,
        default=SCRATCH / "own_tokens",
        metavar="DIR",
        help="photos, runs and results (default: %(default)s)",
    )
    add("--fp32", dest="bf16", action="store_false", help="generate in float32, for processors without bfloat16")
    add("--threads", type=int, metavar="N", help="of torch")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
