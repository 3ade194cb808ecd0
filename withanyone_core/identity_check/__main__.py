"""`python -m withanyone_core.identity_check IMAGES --people DIR`: who is in these images?"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..command import RESUMES, WRONG, run_command
from ..faces.analysis import PROVIDERS
from ..metrics.cache import ArrayStore
from .calibration import calibrate
from .checking import check_images, leftovers
from .images import LayoutFile, find_images, read_layout
from .junit import junit_xml
from .page import page
from .people import photo_files, read_people
from .reading import FaceReader
from .recognizers import DET_SIZE, DET_THRESHOLD, load_recognizer
from .records import Report, read_baseline, report_json, write_json, write_text
from .summary import TOLERATED, Baseline, summarize
from .values import Recognizer

JSON, HTML, JUNIT, STORE = "report.json", "report.html", "junit.xml", "faces.sqlite"
PASSED, FAILED = 0, 1
LOGGER = logging.getLogger("withanyone")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everybody passes, 1 if somebody does not, 2 if something given could not be used, 130 after Ctrl+C."""
    parser = _parser()
    return run_command(
        "identity_check",
        parser,
        partial(_run, parser),
        arguments,
        lambda options: options.images is None and options.people is None,
        RESUMES,
    )


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """The check from files to files. Raises ValueError, RuntimeError or OSError where nothing can be checked."""
    if options.images is None or options.people is None:
        parser.print_help()
        return WRONG
    images = find_images(options.images, leave_out=(options.out, options.people))
    layout = LayoutFile() if options.layout is None else read_layout(options.layout)
    recognizer = load_recognizer(options.recognizer, options.provider, options.det_size, options.det_threshold)
    options.out.mkdir(parents=True, exist_ok=True)
    reader = FaceReader(recognizer.analysis, recognizer.fingerprint, ArrayStore(options.out / STORE))
    count = sum(map(len, photo_files(options.people).values()))
    with closing(tqdm(total=count, desc="photos", unit="photo", disable=None)) as bar:
        people = read_people(options.people, reader, recognizer.levels, bar.update)
    calibration = calibrate(people.people, recognizer.levels)
    with closing(tqdm(total=len(images), desc="images", unit="image", disable=None)) as bar:
        checked, unread = check_images(images, layout, people, calibration, reader, bar.update)
    baseline, faults = _baseline(options.baseline, recognizer.about)
    notes = (*people.notes, *leftovers(layout, people), *faults)
    for note in (*notes, *(reason for _, reason in unread)):
        LOGGER.warning(note)
    rows = tuple(summarize(checked, options.tolerate, options.seed, baseline))
    report = Report(recognizer.about, people, calibration, tuple(checked), rows, tuple(unread), notes)
    write_json(options.out / JSON, report_json(report))
    write_text(options.out / JUNIT, junit_xml(report))
    write_text(options.out / HTML, page(report))
    _say(report, options.out)
    if not report.passes:
        return FAILED
    return WRONG if notes or unread or not checked else PASSED


def _baseline(path: Path | None, recognizer: Recognizer) -> tuple[Baseline | None, tuple[str, ...]]:
    """The baseline, or why there is none: the images are checked all the same."""
    if path is None:
        return None, ()
    try:
        return read_baseline(path, recognizer), ()
    except ValueError as error:
        return None, (f"{error} Nothing was compared.",)


def _say(report: Report, out: Path) -> None:
    lines = [
        f"{len(report.checked)} images checked by {report.recognizer.name}"
        + (f", {len(report.unread)} not" if report.unread else "")
    ]
    for row in report.rows:
        counts = ", ".join(f"{count} {name}" for name, count in row.counts.items())
        verdict = "passes" if row.passes else "FAILS"
        lines.append(f"  {row.variant or '.'}  {row.person}: {verdict} ({counts})")
    sys.stdout.write("\n".join([*lines, f"{out / HTML}"]) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m withanyone_core.identity_check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Says of every person in every image whether they are still themselves: kept, drifted, swapped,\n"
        "dominated, blended, pasted (copied from a photo), lost; and who is there besides. For images of any program.\n"
        "Writes report.html, report.json and junit.xml. Images, photos and everything else of yours stay as they are.",
        epilog="exit status: 0 everybody passes; 1 somebody fails, or is worse than the baseline beyond its interval;\n"
        "2 something given could not be used, the rest was checked; 130 interrupted, the same command resumes.\n\n"
        'layout file: who should be where, in pixels of "size" or in fractions; null for anywhere\n'
        '  {"size": [1024, 768], "people": {"ann": [100, 80, 400, 500], "ben": null}}\n'
        '  {"images": {"lora_*/two_*.png": {"people": {"ann": [0.1, 0.1, 0.4, 0.6]}}}}\n'
        "Without it everybody is expected in every image, anywhere; swaps are then seen only as likeness.",
    )
    add = parser.add_argument
    add("images", nargs="?", type=Path, metavar="IMAGES", help="folder of images; its sub-folders are variants")
    add("--people", type=Path, metavar="DIR", help="a sub-folder of photos for each person; three and more are best")
    add("--layout", type=Path, metavar="FILE", help="who should be where, as JSON")
    add("--baseline", type=Path, metavar="REPORT.json", help="an earlier report: what became worse fails")
    add(
        "--out",
        type=Path,
        default=Path("identity_check"),
        metavar="DIR",
        help="where reports and the faces found are kept (default: %(default)s); a second run reads only what is new",
    )
    add(
        "--recognizer",
        metavar="NAME",
        help="dlib (the extra `judge`; default), or a folder: YuNet with SFace or AuraFace, or a pack of insightface",
    )
    add("--provider", choices=tuple(PROVIDERS), default="CPU", help="what runs ONNX models (default: %(default)s)")
    add("--det-size", type=int, default=DET_SIZE, metavar="PX", help="side to look for faces at (default: %(default)s)")
    add(
        "--det-threshold",
        type=_fraction,
        default=DET_THRESHOLD,
        metavar="0..1",
        help="lowest score of a face (default: %(default)s)",
    )
    add(
        "--tolerate",
        type=_fraction,
        default=TOLERATED,
        metavar="0..1",
        help="a person fails where the interval of their fraction of faults lies above this (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of the resamples behind intervals (default: %(default)s)")
    return parser


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to below 1")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
