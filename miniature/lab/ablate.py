"""`python miniature/lab/ablate.py` measures what pairs, identity losses and negatives bring, in the small world.

Adapters from the same start are trained by training/finetune.py with self references only (a), with pairs (b), with
pairs and the GT-aligned identity loss (c), and with InfoNCE besides, 63 and 4096 negatives (d63, d4096). Each generates
people nobody was trained on. One run at a time; a finished one is kept, and the same command resumes.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from miniature.lab.folders import LAB, SCRATCH, TRAINING_RECIPES
from miniature.weights_folder import WEIGHTS
from withanyone_core.command import RESUMES, positive, run_command

RESULTS, PAGE, PLOT = LAB / "ablation/results.jsonl", LAB / "ABLATION.md", LAB / "ablation.png"
RECIPE = TRAINING_RECIPES / "miniature.yaml"
STEPS, START_STEPS, IMAGES, SAMPLER_STEPS = 600, 3_000, 48, 12
SEEDS = (0, 1, 2)
_START = "adapter that all runs start from, or a file a branch, such as checkpoints (default: one is made)"
IDENTITIES = 240


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all runs asked for are made, 3 where --minutes ended before, 2 for anything given wrongly."""
    return run_command("ablate", _parser(), _run, arguments, interrupted=RESUMES)


def _run(options: argparse.Namespace) -> int:
    logging.getLogger("withanyone").setLevel(logging.INFO)
    left = 0 if options.report else _climb(options)
    _report(options)
    sys.stdout.write(f"{options.page}: {f'{left} runs are left' if left else 'all runs are made'}\n")
    return 3 if left else 0


def _climb(options: argparse.Namespace) -> int:
    """The number of runs that --minutes left."""
    import torch

    from miniature.lab.ablation.ladder import climb
    from miniature.lab.ablation.setting import Setting, ladder_of, load_bench
    from miniature.lab.ablation.variants import chosen_variants
    from training.evaluation.records import Lines

    if options.threads:
        torch.set_num_threads(options.threads)
    chosen = [(variant, seed) for seed in options.seeds for variant in chosen_variants(options.only)]
    bench = load_bench(options.weights)
    setting = Setting(
        recipe=options.recipe,
        weights=options.weights.absolute(),
        scratch=options.scratch.absolute(),
        changes=tuple(options.changes),
        steps=options.steps,
        start=tuple(path.absolute() for path in options.start),
        start_steps=options.start_steps,
        cache=options.cache and options.cache.absolute(),
        identities=options.identities,
        images=options.images,
        sampler_steps=options.sampler_steps,
        workers=options.workers,
    )
    return climb(ladder_of(setting, bench), chosen, Lines(options.results), bench, options.minutes)


def _report(options: argparse.Namespace) -> None:
    from miniature.lab.ablation.plot import write_plot
    from miniature.lab.ablation.report import markdown, remarks_of
    from miniature.lab.ablation.results import results_of
    from training.evaluation.records import Lines, write_text

    results = results_of(Lines(options.results))
    write_plot(options.plot, results)
    write_text(options.page, markdown(results, options.plot.name, remarks_of(options.page)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/ablate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("changes", nargs="*", metavar="key=value", help="first: settings of finetune.py for all variants")
    add("--only", nargs="+", default=[], metavar="NAME", help="of the variants a, b, c, d63, d4096 (d: both)")
    add("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="N", help="(default: 0 1 2)")
    add("--steps", type=positive, default=STEPS, metavar="N", help="of each run (default: %(default)s)")
    add("--start", type=Path, nargs="+", default=[], metavar="FILE", help=_START)
    add("--start-steps", type=positive, default=START_STEPS, metavar="N", help="of that one (default: %(default)s)")
    add("--cache", type=Path, metavar="DIR", help="made by prepare.py (default: photos are rendered and prepared)")
    add("--identities", type=positive, default=IDENTITIES, metavar="N", help="people of those photos")
    add("--images", type=positive, default=IMAGES, metavar="N", help="generated for each value of the slider")
    add("--sampler-steps", type=positive, default=SAMPLER_STEPS, metavar="N", help="of each (default: %(default)s)")
    add("--minutes", type=float, default=float("inf"), metavar="M", help="begin no run after so long")
    add("--recipe", type=Path, default=RECIPE, metavar="FILE", help="of finetune.py (default: %(default)s)")
    add("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of the small world's models")
    add("--scratch", type=Path, default=SCRATCH / "ablation", metavar="DIR", help="for photos, caches and runs")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="a line a run (default: %(default)s)")
    add("--page", type=Path, default=PAGE, metavar="FILE", help="the report (default: %(default)s)")
    add("--plot", type=Path, default=PLOT, metavar="FILE", help="its image (default: %(default)s)")
    add("--report", action="store_true", help="only write report and plot from the kept results")
    add("--workers", type=positive, metavar="N", help="processes that render photos (default: one a core)")
    add("--threads", type=positive, metavar="N", help="of torch while generating")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
