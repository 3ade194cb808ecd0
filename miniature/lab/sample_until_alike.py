"""`python miniature/lab/sample_until_alike.py` measures what Sample Until Alike gains, on unseen people.

Every draw is sampled to the end and judged after several numbers of steps; the node's own search then chooses among
what was judged. What was measured is kept in --scratch: the same command resumes where it was stopped.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from miniature.generation import GUIDANCE, STEPS
from miniature.lab.evidence.alike import (
    CUT,
    DRAWS,
    EARLY_CUT,
    EARLY_FINISH,
    FINISH,
    MOST_FORWARDS,
    WINDOW,
    AlikeRow,
    alike_figures,
    curve,
    read_alike,
    window_figures,
    write_alike,
)
from miniature.lab.evidence.dataset import COUNTS, Dataset
from miniature.lab.evidence.figures import Figure, table
from miniature.lab.evidence.results import Results, key_of
from miniature.lab.evidence.sections import shipped_studio
from miniature.lab.folders import LAB
from miniature.lab.recipes.cards import machine
from miniature.lab.steering import RESEMBLANCE
from miniature.lab.unseen_people import add_options, retyped
from training.evaluation.records import write_text
from withanyone_core.command import run_command

OUT = LAB / "SAMPLE_UNTIL_ALIKE.md"

IMAGES = 25
RESULTS_FORMAT = 1
RESUMES = "The same command resumes from the last images."


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every target was reached, 1 where one was missed, 2 for anything given wrongly."""
    return run_command("sample_until_alike", _parser(), _run, arguments, interrupted=RESUMES, level=logging.ERROR)


def _run(options: argparse.Namespace) -> int:
    warnings.filterwarnings("ignore", "Mismatch dtype")  # T5's norms in bfloat16 are slow, but too small to matter
    torch.set_num_threads(options.threads or torch.get_num_threads())
    dataset = Dataset(options.seed, options.first_person, options.people)
    settings = asdict(dataset) | {"steps": STEPS, "draws": DRAWS, "format": RESULTS_FORMAT}
    results = Results(options.scratch, key_of(options.weights, settings))
    write_alike(shipped_studio(options.weights, dataset, results), results, options.images)
    rows = read_alike(dataset, results, options.images)
    figures = alike_figures(rows)
    write_text(options.out, report(rows, figures, options))
    missed = [figure.name for figure in figures if not figure.reached]
    sys.stdout.write(f"{options.out}: {len(missed)} targets missed{': ' if missed else ''}{'; '.join(missed)}\n")
    return 1 if missed else 0


def report(rows: Sequence[AlikeRow], figures: Sequence[Figure], options: argparse.Namespace) -> str:
    """The figures in Markdown, with where, when and how they were measured."""
    command = retyped(options, "sample_until_alike.py", {"images": IMAGES})
    return "\n".join(
        (
            "# What Sample Until Alike gains\n",
            f"Measured by `{command}` on {date.today().isoformat()},",
            f"{machine()}, on {options.people} people and on scenes that no model was trained on: {len(rows)} scenes,",
            f"{options.images} for each number of people from {COUNTS[0]} to {COUNTS[-1]}, {DRAWS} draws each, {STEPS} "
            f"steps at guidance {GUIDANCE:g},",
            f"resemblance {RESEMBLANCE:g}. The search judges by a recognizer that conditions nothing, against a second",
            "photo of each person; Sim(GT) and who is in a box are the same judge's, against the drawn scene and five",
            "other portraits of each of the people. Right is who is nearest of all people. One draw is the mean of the",
            f"{DRAWS}. Its 95 % interval stands beside each figure.\n",
            f"## The search by its defaults, stop_at {CUT / STEPS:g} and finish {FINISH}\n",
            "Nobody reaches the window here, so the search keeps the draw whose least similar person is most similar,",
            f"as the best of {DRAWS} does of whole draws.\n",
            table(figures),
            f"## The same stopped earlier, stop_at {EARLY_CUT / STEPS:g} and finish {EARLY_FINISH}\n",
            "For as many forwards: shorter looks at all draws, and one more of them finished.\n",
            table(alike_figures(rows, EARLY_CUT, EARLY_FINISH)),
            "## Which fraction decides how well\n",
            f"As many draws are sampled to the end as {MOST_FORWARDS:g} % of the forwards of {DRAWS} whole draws "
            "allow.\n",
            curve(rows),
            "## A window that can be reached\n",
            f"Similarity {WINDOW.lowest:g} to {WINDOW.highest:g}, copy-paste at most {WINDOW.copy_paste:g}: the search "
            "ends with the first draw in which\neverybody is inside.\n",
            table(window_figures(rows)),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/sample_until_alike.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, IMAGES, OUT)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
