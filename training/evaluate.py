"""`python training/evaluate.py CASES --judge JUDGE.json --face-pack DIR --out DIR`

Measures how much the people in generated images look like those they should be, on MultiID-Bench or on cases of your
own, and how much of the reference photos was merely copied. Also makes a blind comparison page and reads its choices.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from training.evaluation.cases import CaseFiles
from training.evaluation.comparison import KEY, Key, write_comparison
from training.evaluation.measuring import EvaluationModels, case_key, measure
from training.evaluation.models import load_evaluation_models
from training.evaluation.preference import preference_markdown, preference_report, read_choices, read_report
from training.evaluation.reading import read_cases
from training.evaluation.records import Line, Lines, write_json, write_text
from training.evaluation.report import PLOT, Json, markdown, plot, report_of
from withanyone_core.command import RESUMES, positive, run_command

LINES, REPORT, READABLE = "cases.jsonl", "report.json", "report.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if something could be measured or written, 1 if no case could, 2 for wrong input, 130 interrupted."""
    parser = _parser()
    return run_command("evaluate", parser, _run, arguments, lambda options: options == parser.parse_args([]), RESUMES)


def _run(options: argparse.Namespace) -> int:
    if options.out is None:
        raise ValueError("--out is missing: the folder to write into.")
    if options.ab_results:
        return _preference(options)
    if options.cases is None:
        raise ValueError("CASES is missing: the folder of cases, or the benchmark's parquet.")
    cases = read_cases(options.cases, options.results)[: options.limit]
    if options.ab:
        return _comparison(cases, options)
    models = load_evaluation_models(
        options.face_pack,
        options.judge,
        options.provider,
        options.out,
        options.clip,
        options.aesthetic,
        not options.no_boxes,
        options.legacy,
    )
    name = options.name or (options.results or options.cases).resolve().name
    report = evaluate(cases, models, options.out, options.seed, name)
    counts = report["counts"]
    sys.stdout.write(f"{counts['measured']} of {counts['cases']} cases measured: {options.out / READABLE}\n")
    return 0 if counts["measured"] else 1


def evaluate(cases: Sequence[CaseFiles], models: EvaluationModels, out: Path, seed: int, name: str) -> Json:
    """Measures what `out` does not hold yet and writes the report there.

    name  what the images are called in report and plot, such as the method that made them
    """
    lines = measured(cases, models, Lines(out / LINES))
    judges = [judge.info for judge in models.judges]
    report = report_of(lines, judges, seed, models.legacy, name)
    write_json(out / REPORT, report)
    write_text(out / PLOT, plot(report))
    write_text(out / READABLE, markdown(report))
    return report


def measured(cases: Sequence[CaseFiles], models: EvaluationModels, lines: Lines) -> list[Line]:
    """The line of each case: as kept where nothing has changed since, else measured now and kept."""
    found = []
    for case in tqdm(cases, desc="cases", unit="case", disable=None):
        key = case_key(case, models)
        line = lines.get(case.name, key)
        if line is None:
            line = lines.add(measure(case, models, key))
        found.append(line)
    return found


def _comparison(cases: Sequence[CaseFiles], options: argparse.Namespace) -> int:
    # The parquet holds no generated images, so there the other folder is another --results.
    others = read_cases(options.cases, options.ab) if options.results else read_cases(options.ab)
    names = (options.name or (options.results or options.cases).name, options.ab.name)
    page, left_out = write_comparison(cases, others, names, options.out, options.seed)
    for line in left_out:
        sys.stderr.write(f"evaluate: left out: {line}\n")
    sys.stdout.write(f"Open {page} in a browser. Keep {options.out / KEY}: it says which image is whose.\n")
    return 0


def _preference(options: argparse.Namespace) -> int:
    key = Key.read(options.out / KEY)
    votes = read_choices(options.ab_results, key)
    report = preference_report(votes, key, [read_report(path) for path in options.reports], options.seed)
    write_json(options.out / "preference.json", report)
    write_text(options.out / "preference.md", preference_markdown(report))
    sys.stdout.write(f"{options.out / 'preference.md'}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/evaluate.py",
        description="Measures likeness to the ground truth, likeness to the reference photos, copy-paste, leakage and "
        "faces found, with 95 % intervals. Nothing is downloaded. A run that was interrupted resumes.",
    )
    add = parser.add_argument
    add(
        "cases",
        nargs="?",
        type=Path,
        metavar="CASES",
        help="folder with one folder a case (out.jpg, ori.jpg, ref_1.jpg, ..., meta.json), or MultiID-Bench's parquet",
    )
    add("--results", type=Path, metavar="DIR", help="with the parquet: generated images named by ID")
    add("--judge", type=Path, nargs="+", default=[], metavar="JSON", help="descriptions of the recognizers that judge")
    add("--face-pack", type=Path, metavar="DIR", help="insightface pack whose detector finds the faces (antelopev2)")
    add("--provider", default="CPU", help="where they run: CPU, CUDA, ... (default: %(default)s)")
    add("--out", type=Path, metavar="DIR", help="folder for report.json, report.md and what is kept between runs")
    add("--name", help="what the images are called in the report (default: the folder's name)")
    add("--seed", type=int, default=0, help="of the intervals and of the comparison page (default: %(default)s)")
    add("--limit", type=positive, metavar="N", help="only the first N cases")
    add("--legacy", action="store_true", help="the released evaluator's arithmetic, for published tables")
    add("--no-boxes", action="store_true", help="tell faces apart by likeness even where a case has boxes")
    add("--clip", type=Path, metavar="DIR", help="also CLIP-I and CLIP-T, with a CLIP model in transformers' form")
    add(
        "--aesthetic",
        type=Path,
        nargs=2,
        default=[],
        metavar=("DIR", "HEAD"),
        help="also an aesthetic score: SigLIP and its head",
    )
    add("--ab", type=Path, metavar="DIR", help="write a blind comparison page of CASES and this folder instead")
    add("--ab-results", type=Path, nargs="+", default=[], metavar="JSON", help="read choices made on that page")
    add(
        "--reports",
        type=Path,
        nargs=2,
        default=[],
        metavar="JSON",
        help="with --ab-results: report.json of CASES and of the other folder, to see whether the metrics agree",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
