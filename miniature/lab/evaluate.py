"""`python miniature/lab/evaluate.py` measures what the miniature's adapter does, on people nothing was trained on.

What was measured is kept in --scratch: the same command resumes where it was stopped, and another part uses the same
images. Changed weights start over.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from miniature.generation import GUIDANCE, STEPS
from miniature.lab.ablation.trial import trial_table
from miniature.lab.evidence.dataset import COUNTS, Dataset
from miniature.lab.evidence.faces import GALLERY_SIZE
from miniature.lab.evidence.figures import Figure, table
from miniature.lab.evidence.metrics import doctor_figures, meter_figures, places_figures, prompt_figures
from miniature.lab.evidence.results import Results, key_of
from miniature.lab.evidence.sections import (
    SEEDS,
    Studio,
    read_asked,
    read_exchanged,
    read_picked,
    shipped_studio,
    write_asked,
    write_exchanged,
    write_picked,
)
from miniature.lab.folders import LAB
from miniature.lab.recipes.cards import machine
from miniature.lab.steering import RESEMBLANCE
from miniature.lab.unseen_people import add_options, retyped
from training.evaluation.records import Lines, write_text
from withanyone_core.adapter.strength import FROM_SLIDER
from withanyone_core.command import run_command

OUT = LAB / "EVALUATION.md"
DOCTOR_RESULTS = LAB / "ablation" / "doctor.jsonl"
IMAGES = 100
RESULTS_FORMAT = 3
RESUMES = "The same command resumes from the last images that were measured."


@dataclass(frozen=True)
class Part:
    """A section of the report: what is generated for it, and what its lines come to; a table of another kind before."""

    title: str
    text: str
    write: Callable[[Studio, Results, int], None]
    figures: Callable[[Dataset, Results, int], tuple[Figure, ...]]
    table: Callable[[], str] = str


def _write_places(studio: Studio, results: Results, images: int) -> None:
    write_asked(studio, results, images)
    write_exchanged(studio, results, images)


def _write_meter(studio: Studio, results: Results, images: int) -> None:
    write_asked(studio, results, images)
    write_picked(studio, results, to_pick(images))


def to_pick(images: int) -> int:
    """From how many samples' images Pick Best chooses, where there are so many for each number of people."""
    return -(-images // 2)


PARTS = {
    "places": Part(
        "Who is where",
        f"A face shows the one of all people whom the judge finds it most like; it knows each from {GALLERY_SIZE} "
        "portraits that nobody else is shown. A box without a face is missed. At weight 0 only faces that were found "
        "count. Outside the boxes is what lies in no cell that a box covers.",
        _write_places,
        lambda data, results, images: places_figures(
            read_asked(data, results, images), read_exchanged(data, results, images), data.people
        ),
    ),
    "prompt": Part(
        "What the caption says",
        "The same images, read by the classifiers of EVIDENCE.md, which make mistakes of their own. A person in whose "
        "box there is not exactly one face is missed.",
        write_asked,
        lambda data, results, images: prompt_figures(read_asked(data, results, images)),
    ),
    "meter": Part(
        "Identity Meter and Pick Best",
        "Both see faces with the pack's own recognizer, as the nodes do; Sim(GT) is the judge's, against the same "
        "people drawn as the caption says. A ranking is the chance that of two faces the right one scores higher. "
        f"Pick Best chooses from {SEEDS} seeds by likeness; a random choice comes to the mean of the {SEEDS}.",
        _write_meter,
        lambda data, results, images: meter_figures(
            read_asked(data, results, images), read_picked(data, results, to_pick(images))
        ),
    ),
    "doctor": Part(
        "The dataset doctor",
        "Sets of photos of the same people, prepared by training/prepare.py, which tells their risk of copying; each "
        "trained the adapter a little further by training/finetune.py, and the judge measured how much the images of "
        "its people copy the photo that the adapter is shown. Made by `python miniature/lab/doctor_trial.py`.",
        lambda studio, results, images: None,
        lambda data, results, images: doctor_figures(Lines(DOCTOR_RESULTS)),
        lambda: f"{trial_table(Lines(DOCTOR_RESULTS))}\n" if DOCTOR_RESULTS.is_file() else "",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every target was reached, 1 where one was missed, 2 for anything given wrongly."""
    return run_command("evaluate", _parser(), _run, arguments, interrupted=RESUMES, level=logging.ERROR)


def _run(options: argparse.Namespace) -> int:
    warnings.filterwarnings("ignore", "Mismatch dtype")  # T5's norms in bfloat16 are slow, but too small to matter
    torch.set_num_threads(options.threads or torch.get_num_threads())
    dataset = Dataset(options.seed, options.first_person, options.people)
    settings = {name: getattr(options, name) for name in ("resemblance", "id_weight", "siglip_weight", "bf16")}
    settings |= asdict(dataset) | {"steps": STEPS, "format": RESULTS_FORMAT}
    results = Results(options.scratch, key_of(options.weights, settings))
    measured = options.only or list(PARTS)
    strength = options.resemblance, options.id_weight, options.siglip_weight
    studio = shipped_studio(options.weights, dataset, results, *strength)
    with torch.autocast("cpu", torch.bfloat16) if options.bf16 else nullcontext():
        for name in measured:
            PARTS[name].write(studio, results, options.images)
    figures = {name: PARTS[name].figures(dataset, results, options.images) for name in measured}
    write_text(options.out, report(figures, options))
    missed = [figure.name for each in figures.values() for figure in each if not figure.reached]
    sys.stdout.write(f"{options.out}: {len(missed)} targets missed{': ' if missed else ''}{'; '.join(missed)}\n")
    return 1 if missed else 0


def report(figures: dict[str, tuple[Figure, ...]], options: argparse.Namespace) -> str:
    """The figures in Markdown, with where, when and how they were measured."""
    sections = [
        f"## {part.title}\n\n{part.text}\n\n{part.table()}{table(each)}"
        for part, each in ((PARTS[name], each) for name, each in figures.items())
    ]
    arithmetic = "bfloat16" if options.bf16 else "float32"
    return "\n".join(
        (
            "# What the miniature's adapter does\n",
            f"Measured by `{_command(options)}` on {date.today().isoformat()},",
            f"{machine()}, on {options.people} people and on scenes that no model was trained on:",
            f"{options.images} images for each number of people from {COUNTS[0]} to {COUNTS[-1]}, {STEPS} steps in "
            f"{arithmetic} at guidance {GUIDANCE:g},",
            f"{_strength(options)}, one photo of each person, in the boxes that presets offer. The judge",
            "is a recognizer of another architecture, trained on other people; no training of",
            "the adapter saw it. A target is met by the figure itself unless said otherwise; its 95 % interval stands",
            "beside it.\n",
            *sections,
        )
    )


def _command(options: argparse.Namespace) -> str:
    """What to type for the same figures."""
    strength = {"resemblance": RESEMBLANCE, "id_weight": FROM_SLIDER, "siglip_weight": FROM_SLIDER}
    return retyped(options, "evaluate.py", {"images": IMAGES, **strength}) + " --bf16" * options.bf16


def _strength(options: argparse.Namespace) -> str:
    """The adapter's settings as a sentence."""
    words = [f"resemblance {options.resemblance:g}"]
    words += [
        f"{name} {value:g}"
        for name, value in (("id_weight", options.id_weight), ("siglip_weight", options.siglip_weight))
        if value != FROM_SLIDER
    ]
    return ", ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", type=_parts, metavar="PART,...", help=f"of {', '.join(PARTS)} (default: all)")
    add_options(parser, IMAGES, OUT)
    add("--resemblance", type=float, default=RESEMBLANCE, metavar="R", help="of Apply WithAnyone (default: 0.5)")
    add("--id-weight", type=float, default=FROM_SLIDER, metavar="W", help="of the arc branch, in place of the slider")
    add("--siglip-weight", type=float, default=FROM_SLIDER, metavar="W", help="of the sig branch")
    add("--bf16", action="store_true", help="generate in half the time where the processor knows bfloat16")
    return parser


def _parts(text: str) -> list[str]:
    unknown = [name for name in text.split(",") if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; expected some of {', '.join(PARTS)}, separated by commas")
    return [name for name in PARTS if name in text.split(",")]


if __name__ == "__main__":
    raise SystemExit(main())
