"""`python miniature/prove.py` measures what the miniature's adapter does, by the judging recogniser, on 200 strangers.

What was measured is kept in --scratch: the same command goes on where it was stopped, and another part uses the same
pictures. Changed weights start anew.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from miniature.ablation.trial import trial_table
from miniature.evidence.casting import COUNTS, PEOPLE, References
from miniature.evidence.chapters import (
    SEEDS,
    Studio,
    read_asked,
    read_exchanged,
    read_picked,
    write_asked,
    write_exchanged,
    write_picked,
)
from miniature.evidence.claims import doctor_figures, meter_figures, places_figures, prompt_figures
from miniature.evidence.examining import PORTRAITS, RememberedFaces, make_examiner
from miniature.evidence.figures import Figure, table
from miniature.evidence.ledger import Ledger, key_of
from miniature.generation import GUIDANCE, STEPS
from miniature.recipes.cards import machine
from miniature.steering import RESEMBLANCE, PhotoReader, shipped_photo_reader, shipped_steered_painter
from miniature.weights_folder import WEIGHTS
from training.evaluation.records import Lines
from withanyone_core.adapter.strength import FROM_SLIDER, branch_weights

HERE = Path(__file__).resolve().parent
OUT = HERE / "PROOF.md"
SCRATCH = HERE / "scratch" / "proof"
DOCTOR_RESULTS = HERE / "ablation" / "doctor.jsonl"
PICTURES = 100
LEDGER_FORMAT = 2


@dataclass(frozen=True)
class Part:
    """A section of the report: what is painted for it, and what its lines come to; a table of another kind before."""

    title: str
    text: str
    write: Callable[[Studio, Ledger, int], None]
    figures: Callable[[Ledger, int], tuple[Figure, ...]]
    table: Callable[[], str] = str


def _write_places(studio: Studio, ledger: Ledger, pictures: int) -> None:
    write_asked(studio, ledger, pictures)
    write_exchanged(studio, ledger, pictures)


def _write_meter(studio: Studio, ledger: Ledger, pictures: int) -> None:
    write_asked(studio, ledger, pictures)
    write_picked(studio, ledger, to_pick(pictures))


def to_pick(pictures: int) -> int:
    """Casts from which Pick Best chooses, where there are so many pictures for each number of people."""
    return -(-pictures // 2)


PARTS = {
    "places": Part(
        "Who is where",
        f"A face shows the one of the {PEOPLE} people whom the judge finds it most like; it knows each from "
        f"{PORTRAITS} portraits that nobody else is shown. A box without a face is missed. At weight 0 only faces that "
        f"were found count, and chance is 1 of {PEOPLE}. Outside the boxes is what lies in no cell that a box covers.",
        _write_places,
        lambda ledger, pictures: places_figures(read_asked(ledger, pictures), read_exchanged(ledger, pictures)),
    ),
    "prompt": Part(
        "What the caption says",
        "The same pictures, read by the classifiers of EVIDENCE.md, which make mistakes of their own. Where a picture "
        "shows another number of faces than its caption, all of its faces are missed.",
        write_asked,
        lambda ledger, pictures: prompt_figures(read_asked(ledger, pictures)),
    ),
    "meter": Part(
        "Identity Meter and Pick Best",
        "Both see faces with the pack's own recogniser, as the nodes do; Sim(GT) is the judge's, against the same "
        "people drawn as the caption says. A ranking is the chance that of two faces the right one scores higher. "
        f"Pick Best chooses from {SEEDS} seeds by likeness; a random choice comes to the mean of the {SEEDS}.",
        _write_meter,
        lambda ledger, pictures: meter_figures(read_asked(ledger, pictures), read_picked(ledger, to_pick(pictures))),
    ),
    "doctor": Part(
        "The dataset doctor",
        "Sets of photos of the same people, prepared by training/prepare.py, which tells their risk of copying; each "
        "trained the adapter a little further by training/finetune.py, and the judge measured how much the pictures of "
        "its people copy the photo that the adapter is shown. Made by `python miniature/doctor_trial.py`.",
        lambda studio, ledger, pictures: None,
        lambda ledger, pictures: doctor_figures(Lines(DOCTOR_RESULTS)),
        lambda: f"{trial_table(Lines(DOCTOR_RESULTS))}\n" if DOCTOR_RESULTS.is_file() else "",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every target was reached, 1 where one was missed, 2 for anything given wrongly."""
    logging.basicConfig(level=logging.ERROR, format="prove: %(message)s")
    options = _parser().parse_args(arguments)
    warnings.filterwarnings(
        "ignore", "Mismatch dtype"
    )  # T5's norms in bfloat16 are slow, and so small that it is no loss
    torch.set_num_threads(options.threads or torch.get_num_threads())
    try:
        return _run(options)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"prove: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nprove: interrupted. The same command goes on from the last pictures that were measured.\n")
        return 130


def _run(options: argparse.Namespace) -> int:
    settings = {name: getattr(options, name) for name in ("resemblance", "id_weight", "siglip_weight", "bf16")}
    settings |= {"steps": STEPS, "format": LEDGER_FORMAT}
    ledger = Ledger(options.scratch, key_of(options.weights, settings))
    measured = options.only or list(PARTS)
    studio = _studio(options, ledger)
    with torch.autocast("cpu", torch.bfloat16) if options.bf16 else nullcontext():
        for name in measured:
            PARTS[name].write(studio, ledger, options.pictures)
    figures = {name: PARTS[name].figures(ledger, options.pictures) for name in measured}
    written = options.out.with_name(f"{options.out.name}.part")
    written.write_text(report(figures, options), encoding="utf-8")
    os.replace(written, options.out)
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
            f"{machine()}, on {PEOPLE} people and on scenes that no model was trained on:",
            f"{options.pictures} pictures for each number of people from {COUNTS[0]} to {COUNTS[-1]}, {STEPS} steps in "
            f"{arithmetic} at guidance {GUIDANCE:g},",
            f"{_strength(options)}, one photo of each person, boxes where the world's own scenes have",
            "their faces. The judge is a recogniser of another architecture, trained on other people; no training of",
            "the adapter saw it. A target is met by the figure itself unless said otherwise; its 95 % interval stands",
            "beside it.\n",
            *sections,
        )
    )


def _command(options: argparse.Namespace) -> str:
    """What to type for the same figures."""
    usual = {"pictures": PICTURES, "resemblance": RESEMBLANCE, "id_weight": FROM_SLIDER, "siglip_weight": FROM_SLIDER}
    given = {name: getattr(options, name) for name in usual}
    changed = [f" --{name.replace('_', '-')} {given[name]:g}" for name in usual if given[name] != usual[name]]
    return f"python miniature/prove.py{''.join(changed)}{' --bf16' * options.bf16}"


def _strength(options: argparse.Namespace) -> str:
    """The adapter's settings in words."""
    words = [f"resemblance {options.resemblance:g}"]
    words += [
        f"{name} {value:g}"
        for name, value in (("id_weight", options.id_weight), ("siglip_weight", options.siglip_weight))
        if value != FROM_SLIDER
    ]
    return ", ".join(words)


def _studio(options: argparse.Namespace, ledger: Ledger) -> Studio:
    painter = shipped_steered_painter(options.weights)
    reader = shipped_photo_reader(options.weights)
    reader = PhotoReader(RememberedFaces(reader.analysis), reader.encode)
    examiner = make_examiner(options.weights, reader.analysis, ledger)
    weights = branch_weights(painter.adapter.shapes, options.resemblance, options.id_weight, options.siglip_weight)
    return Studio(painter, References(reader), examiner, weights)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/prove.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", type=_parts, metavar="PART,...", help=f"of {', '.join(PARTS)} (default: all)")
    add("--pictures", type=_positive, default=PICTURES, metavar="N", help="for each number of people (default: 100)")
    add("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weights")
    add("--out", type=Path, default=OUT, metavar="FILE", help="the report (default: %(default)s)")
    add("--scratch", type=Path, default=SCRATCH, metavar="DIR", help="what was measured (default: %(default)s)")
    add("--resemblance", type=float, default=RESEMBLANCE, metavar="R", help="of Apply WithAnyone (default: 0.5)")
    add("--id-weight", type=float, default=FROM_SLIDER, metavar="W", help="of the arc branch, in place of the slider")
    add("--siglip-weight", type=float, default=FROM_SLIDER, metavar="W", help="of the sig branch")
    add("--bf16", action="store_true", help="paint in half the time where the processor knows bfloat16")
    add("--threads", type=_positive, metavar="N", help="of torch")
    return parser


def _parts(text: str) -> list[str]:
    unknown = [name for name in text.split(",") if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; expected some of {', '.join(PARTS)}, separated by commas")
    return [name for name in PARTS if name in text.split(",")]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
