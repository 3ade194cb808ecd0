"""`python miniature/doctor_trial.py` asks whether the dataset doctor is right, in the small world.

Sets of photos of the same people, from sixteen varied ones to a burst of one moment, are prepared by
training/prepare.py, which tells their risk of copying, and each trains the shipped adapter a little further by
training/finetune.py. The judge then measures how much the people painted by it copy their reference photo. One set at a
time; a finished one is kept, and the same command goes on.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "ablation/doctor.jsonl"
RECIPE = HERE.parent / "training/recipes/miniature.yaml"
PEOPLE, STEPS, TARGETS, SAMPLER_STEPS = 4, 150, 12, 12


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all sets asked for are tried, 3 where --minutes ended before, 2 for anything given wrongly."""
    logging.basicConfig(level=logging.WARNING, format="doctor_trial: %(message)s")
    logging.getLogger("withanyone").setLevel(logging.INFO)
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"doctor_trial: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ndoctor_trial: interrupted. The same command goes on where it stopped.\n")
        return 130


def _run(options: argparse.Namespace) -> int:
    import torch

    from miniature.ablation.photo_sets import HABITS
    from miniature.ablation.setting import loaded_eyes
    from miniature.ablation.trial import Trial, trial_figures, trial_table, tried
    from miniature.evidence.figures import table
    from miniature.weights_folder import ADAPTER
    from training.evaluation.records import Lines

    if options.threads:
        torch.set_num_threads(options.threads)
    unknown = set(options.only) - {habit.name for habit in HABITS}
    if unknown:
        raise ValueError(f"There is no set {min(unknown)}; known are {', '.join(habit.name for habit in HABITS)}.")
    trial = Trial(
        recipe=options.recipe,
        weights=options.weights.absolute(),
        scratch=options.scratch.absolute(),
        adapter=(options.adapter or options.weights / ADAPTER).absolute(),
        changes=tuple(options.changes),
        people=options.people,
        steps=options.steps,
        targets=options.targets,
        sampler_steps=options.sampler_steps,
    )
    habits = [habit for habit in HABITS if not options.only or habit.name in options.only]
    lines = Lines(options.results)
    left = tried(trial, habits, lines, loaded_eyes(trial.weights), options.minutes)
    sys.stdout.write(f"{trial_table(lines)}\n{table(trial_figures(lines))}")
    return 3 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/doctor_trial.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("changes", nargs="*", metavar="key=value", help="first: settings of finetune.py for all sets")
    add("--only", nargs="+", default=[], metavar="SET", help="of the sets, by name")
    add("--adapter", type=Path, metavar="FILE", help="that is trained further (default: the shipped one)")
    add("--steps", type=_positive, default=STEPS, metavar="N", help="of each training (default: %(default)s)")
    add("--people", type=_positive, default=PEOPLE, metavar="N", help="of each set (default: %(default)s)")
    add("--targets", type=_positive, default=TARGETS, metavar="N", help="painted of each (default: %(default)s)")
    add("--sampler-steps", type=_positive, default=SAMPLER_STEPS, metavar="N", help="(default: %(default)s)")
    add("--minutes", type=float, default=float("inf"), metavar="M", help="begin no set after so long")
    add("--recipe", type=Path, default=RECIPE, metavar="FILE", help="of finetune.py (default: %(default)s)")
    add("--weights", type=Path, default=HERE / "weights", metavar="DIR", help="folder of the small world's models")
    add("--scratch", type=Path, default=HERE / "scratch/doctor", metavar="DIR", help="for photos, caches and runs")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="a line a set (default: %(default)s)")
    add("--threads", type=_positive, metavar="N", help="of torch while painting")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
