"""`python training/finetune.py CONFIG [key=value ...]`

Fine-tunes a WithAnyone adapter on photos that prepare.py has prepared. While it runs, held-out photos are generated and
scored; early stopping ends the run where more training would only copy. A stopped run resumes when the same command is
repeated.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from withanyone_core.command import packages_needed, run_command

RESUMES = "The same command resumes from the latest checkpoint."


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a finished run, 2 for anything given or gone wrong, 130 where it was interrupted, 143 where terminated."""
    status = run_command(
        "finetune", _parser(), _run_until_terminated, arguments, lambda options: options.config is None, RESUMES
    )
    return _ended(status) if status else status


def _ended(status: int) -> int:
    """The status. A process of several ends here at once: to take down connections to one that has gone may hang."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run_until_terminated(options: argparse.Namespace) -> int:
    logging.getLogger("withanyone").setLevel(logging.INFO)
    try:
        with _terminable():
            return _run(options)
    except Terminated:
        sys.stderr.write(
            "finetune: ended from outside (SIGTERM), as a launcher does where another process of the run has died. The "
            "same command resumes from the latest checkpoint.\n"
        )
        return 143


def _run(options: argparse.Namespace) -> int:
    with packages_needed("Training"):
        from training.configuration.finetune import Finetune
        from training.configuration.reading import read_settings

        settings = read_settings(Finetune, options.config, options.changes)
        if options.settings:
            from training.configuration.writing import settings_text

            sys.stdout.write(settings_text(settings))
            return 0
        from training.loop.build import build_trainer
        from training.loop.failures import out_of_memory_advice, worker_lost_advice
        from training.loop.run_folder import claimed
        from training.loop.train import train
        from training.report.report import finish
    is_main = os.environ.get("RANK", "0") == "0"  # as launchers say it, before anything is started
    with claimed(settings) if is_main else nullcontext():
        with out_of_memory_advice(settings):
            trainer = build_trainer(settings)
        try:
            train(trainer)
            with worker_lost_advice(trainer.state, trainer.processes):
                result = Path(trainer.processes.from_main(lambda: str(finish(trainer))))
        finally:
            trainer.close()
    if trainer.processes.is_main:
        sys.stdout.write(f"{result}\nRead {result.with_name('report.html')} (or report.md) before you use it.\n")
    trainer.state.accelerator.end_training()
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM raises Terminated."""

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/finetune.py",
        description="Fine-tunes a WithAnyone adapter on prepared photos and shows whether it learns people or copies "
        "photos. A run that was stopped resumes when the same command is repeated. Nothing is downloaded.",
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
