"""`python miniature/contact_sheet.py --out FILE`

Draws a sheet of the miniature world: people in rows over several looks, and scenes with one to four of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from miniature.world import draw_portrait, draw_scene, person_of, render

_FIRST = 1_000_000


def sheet(seed: int, people: int, looks: int, size_px: int) -> np.ndarray:
    """Rows of portraits, one person a row, then two rows of scenes; uint8 RGB."""
    rng = np.random.default_rng(seed)
    first = _FIRST + 100 * seed
    rows = [
        [render(draw_portrait(rng, person_of(first + i)), size_px, size_px).pixels for _ in range(looks)]
        for i in range(people)
    ]
    counts = iter([1, 2, 3, 4] * looks)
    for _ in range(2):
        crowds = [[person_of(int(first + rng.integers(50))) for _ in range(next(counts))] for _ in range(looks)]
        rows.append([render(draw_scene(rng, crowd), size_px, size_px).pixels for crowd in crowds])
    gap = np.full((4, (size_px + 4) * looks + 4, 3), 250, np.uint8)
    return np.concatenate([gap] + [part for row in rows for part in (_joined(row), gap)])


def _joined(row: list[np.ndarray]) -> np.ndarray:
    gap = np.full((row[0].shape[0], 4, 3), 250, np.uint8)
    return np.concatenate([gap] + [part for picture in row for part in (picture, gap)], 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the sheet; 0 if it could be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="picture to write, .jpg or .png")
    parser.add_argument("--seed", type=int, default=5, help="which people and scenes")
    parser.add_argument("--people", type=int, default=4, help="rows of portraits")
    parser.add_argument("--looks", type=int, default=7, help="pictures in a row")
    parser.add_argument("--size", type=int, default=160, help="pixels of a picture's side")
    options = parser.parse_args(arguments)
    if options.out is None:
        parser.print_help()
        return 0
    picture = sheet(options.seed, options.people, options.looks, options.size)
    if not cv2.imwrite(str(options.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86]):
        sys.stderr.write(f"contact_sheet: cannot write {options.out}; give a .jpg or .png in a folder that exists\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
