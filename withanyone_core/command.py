"""Command scaffold: parses arguments, sets up logging, and turns errors into exit statuses and readable messages.

Exit statuses of every command: 0 done, 1 nothing came of it, 2 anything given wrongly, 130 interrupted.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

WRONG, INTERRUPTED = 2, 130  # as argparse ends, and as shells report Ctrl-C
RESUMES = "The same command resumes where it stopped."


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None,
    is_bare: Callable[[argparse.Namespace], bool] = lambda _: False,
    interrupted: str = "",
    level: int = logging.WARNING,
) -> int:
    """The exit status of `run` with the parsed arguments; called bare, the command prints its help.

    is_bare      whether arguments leave nothing to do
    interrupted  what to say after Ctrl-C
    level        of the messages of all libraries that are shown
    """
    logging.basicConfig(level=level, format=f"{name}: %(message)s")
    options = parser.parse_args(arguments)
    if is_bare(options):
        parser.print_help()
        return 0
    try:
        return run(options)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"{name}: {readable(error)}\n")
        return WRONG
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: {f'interrupted. {interrupted}'.strip()}\n")
        return INTERRUPTED


def readable(error: Exception) -> str:
    """The error's text; of an error that the system raised, which file it was and what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    return (
        f"{error.filename or 'A file'} could not be read or written: {error.strerror}. Make it accessible, or free "
        "some space, and run the same command again."
    )


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


def positive(text: str) -> int:
    """The whole number of an argument that has to be 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return number
