"""`python miniature/lab/photos.py OUT` renders a folder of photos as `training/prepare.py` reads them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from miniature.lab.recipes.photos import PhotoSet, write_photos
from miniature.world.scene import SIDE_PX
from withanyone_core.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a whole folder, 2 for anything given wrongly."""
    return run_command("photos", _parser(), _run, arguments, lambda options: options.out is None)


def _run(options: argparse.Namespace) -> int:
    photos = PhotoSet(options.first, options.identities, options.portraits, options.groups, options.size, options.seed)
    count = write_photos(photos, options.out, options.workers)
    sys.stdout.write(f"{options.out}: {count} photos of {photos.identities} people\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/photos.py",
        description="Renders photos of people of the miniature world for training/prepare.py; only what is missing.",
    )
    add = parser.add_argument
    add("out", nargs="?", type=Path, metavar="OUT", help="folder of the photos")
    add("--first", type=int, default=200_000, metavar="INDEX", help="first person; 1000000 and above are for evidence")
    add("--identities", type=int, default=40, metavar="N", help="people (default: %(default)s)")
    add("--portraits", type=int, default=6, metavar="N", help="portraits of each (default: %(default)s)")
    add("--groups", type=int, default=60, metavar="N", help="images of two to four of them (default: %(default)s)")
    add("--size", type=int, default=SIDE_PX, metavar="PX", help="side of an image (default: %(default)s)")
    add("--seed", type=int, default=0, help="of looks and scenes (default: %(default)s)")
    add("--workers", type=int, metavar="N", help="processes (default: one a core)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
