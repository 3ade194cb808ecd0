"""`python training/doctor.py CONFIG [key=value ...]`

Tells before a run whether it will work: looks at every file, predicts the memory by component, says what would make it
fit, takes two real steps in a folder that is thrown away, and compares prediction and measurement.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from withanyone_core.command import packages_needed, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where the run can be started, 1 where it would fail or not fit, 2 for wrong input, 130 interrupted."""
    return run_command("doctor", _parser(), _run, arguments, lambda options: options.config is None)


def _run(options: argparse.Namespace) -> int:
    with packages_needed("Training"):
        from training.configuration.finetune import Finetune
        from training.configuration.reading import read_settings

        settings = read_settings(Finetune, options.config, options.changes)
        from training.memory.preflight import preflight
    is_well = preflight(settings, options.card, not options.no_steps, sys.stdout)
    return 0 if is_well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/doctor.py",
        description="Tells before a run whether it will work: checks every file, predicts the peak memory by component "
        "and says what would make it fit, takes two real steps, and compares prediction and measurement. Nothing is "
        "downloaded, and nothing stays behind.",
    )
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG", help="the YAML file that finetune.py is to be started with"
    )
    parser.add_argument(
        "changes", nargs="*", metavar="key=value", help="settings instead of those in the file, as for finetune.py"
    )
    parser.add_argument(
        "--card", type=float, metavar="GIB", help="plan for a card of this size instead of this machine's"
    )
    parser.add_argument("--no-steps", action="store_true", help="only look and predict")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
