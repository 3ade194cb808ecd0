"""`python training/finetune.py CONFIG [key=value ...]`

Fine-tunes a WithAnyone adapter on photos that prepare.py has prepared. While it runs, held-out photos are painted and
judged; it stops where more training would only copy. A run that was stopped goes on when the same command is repeated.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a finished run, 2 for anything given wrongly or gone wrong, 130 where it was interrupted."""
    logging.basicConfig(level=logging.WARNING, format="finetune: %(message)s")
    logging.getLogger("withanyone").setLevel(logging.INFO)
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.config is None:
        parser.print_help()
        return 0
    try:
        return _run(options)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"finetune: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nfinetune: interrupted. The same command goes on from the latest checkpoint.\n")
        return 130


def _run(options: argparse.Namespace) -> int:
    try:
        from training.configuration.finetune import Finetune
        from training.configuration.reading import read_settings

        settings = read_settings(Finetune, options.config, options.changes)
        if options.settings:
            from training.configuration.writing import settings_text

            sys.stdout.write(settings_text(settings))
            return 0
        from training.loop.finishing import finish
        from training.loop.opening import open_session
        from training.loop.train import memory_in_words, train
    except ImportError as error:
        raise RuntimeError(
            f"{error}. Training needs packages that the nodes do not: run `python -m pip install '.[training]'` in "
            "this folder."
        ) from error
    with memory_in_words(settings):
        session = open_session(settings)
    try:
        train(session)
        result = finish(session)
    finally:
        session.close()
    sys.stdout.write(f"{result}\nRead {result.with_name('report.md')} before you use it.\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/finetune.py",
        description="Fine-tunes a WithAnyone adapter on prepared photos and shows whether it learns people or copies "
        "photos. A run that was stopped goes on when the same command is repeated. Nothing is downloaded.",
        epilog=_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG", help="YAML file, such as training/recipes/finetune.yaml"
    )
    parser.add_argument(
        "changes", nargs="*", metavar="key=value", help="settings instead of those in the file, such as optim.lr=1e-5"
    )
    parser.add_argument("--settings", action="store_true", help="only show all settings with their defaults filled in")
    return parser


def _keys() -> str:
    """The settings as their models describe them; nothing where the packages for it are not installed."""
    try:
        from training.configuration.describing import described
        from training.configuration.finetune import Finetune
    except ImportError:
        return ""
    return described(Finetune)


if __name__ == "__main__":
    raise SystemExit(main())
