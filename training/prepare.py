"""`python training/prepare.py CONFIG [key=value ...]`

Makes a training cache from photos: finds the faces, checks that each folder shows one person, names the faces in group
photos, cuts, and keeps everything the frozen models say. Its report tells what was left out and why, and how likely
training is to learn copying.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from withanyone_core.command import RESUMES, packages_needed, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a finished cache, 2 for anything given wrongly, 130 where it was interrupted."""
    return run_command("prepare", _parser(), _run, arguments, lambda options: options.config is None, RESUMES)


def _run(options: argparse.Namespace) -> int:
    with packages_needed("Preparing"):
        from training.configuration.preparing import PrepareSettings
        from training.configuration.reading import read_settings

        settings = read_settings(PrepareSettings, options.config, options.changes)
        from training.preparing.copy_risk import risk_level
        from training.preparing.loading import load_models
        from training.preparing.preparing import prepare
    done = prepare(settings, lambda: load_models(settings))
    cache, risk = done.cache, done.findings.risk
    sys.stdout.write(
        f"{len(cache.images)} photos of {len(cache.identities)} people are ready in {settings.cache}. "
        f"Risk of copying: {risk:.2f} ({risk_level(risk)}). Read {done.report}, or report.html with every face.\n"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/prepare.py",
        description="Makes a training cache from photos, once; finetune.py reads it. A run that was interrupted "
        "resumes, and a changed photo, caption or model changes only what depends on it. Nothing is downloaded.",
        epilog=_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="YAML file with the settings below")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings instead of those in the file")
    return parser


def _keys() -> str:
    """The settings as their models describe them; nothing where the packages for it are not installed."""
    try:
        from training.configuration.describing import described
        from training.configuration.preparing import PrepareSettings
    except ImportError:
        return ""
    return described(PrepareSettings)


if __name__ == "__main__":
    raise SystemExit(main())
