"""`python -m withanyone_core.faces`: whether faces can be analysed here, and if not, what to run."""

import argparse
import sys
from collections.abc import Sequence

from ..command import run_command
from .analysis import face_library
from .installation import install_command


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if insightface can be used, 1 otherwise; then the command that adds what is missing is all that is written."""
    parser = argparse.ArgumentParser(
        prog="python -m withanyone_core.faces",
        description="Says whether faces can be analysed with this Python. If not, it writes the command that adds what "
        "is missing and replaces nothing that is installed.",
    )
    return run_command("faces", parser, _run, arguments)


def _run(_: argparse.Namespace) -> int:
    try:
        face_library()
    except RuntimeError as error:
        sys.stdout.write(f"{install_command() or error}\n")
        return 1
    sys.stdout.write("Faces can be analysed.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
