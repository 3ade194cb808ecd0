"""Command scaffold: parses arguments, sets up logging, and turns errors into exit statuses and readable messages.

Exit statuses of every command: 0 done, 1 nothing came of it, 2 anything given wrongly, 130 interrupted.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .disk_errors import readable

RESUMES = "The same command resumes where it stopped."


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None,
    is_bare: Callable[[argparse.Namespace], bool],
    interrupted: str = "",
) -> int:
    """The exit status of `run` with the parsed arguments; called bare, the command prints its help.

    is_bare      whether arguments leave nothing to do
    interrupted  what to say after Ctrl-C
    """
    logging.basicConfig(level=logging.WARNING, format=f"{name}: %(message)s")
    options = parser.parse_args(arguments)
    if is_bare(options):
        parser.print_help()
        return 0
    try:
        return run(options)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"{name}: {readable(error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: {f'interrupted. {interrupted}'.strip()}\n")
        return 130


@contextmanager
def packages_needed(purpose: str) -> Iterator[None]:
    """Inside, a package that is not installed is a RuntimeError that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise RuntimeError(
            f"{error}. {purpose} needs packages that the nodes do not: run `python -m pip install '.[faces,training]'` "
            "in this folder."
        ) from error
