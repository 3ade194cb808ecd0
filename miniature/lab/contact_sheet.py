"""`python miniature/lab/contact_sheet.py --out FILE`

Draws a sheet of the miniature world: people in rows over several looks, and scenes with one to four of them. With
--generated the models' own: forty images of each number of people nobody was trained on, none of them picked. With
--beside a few of those, beside the photos of their people.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from miniature.weights_folder import WEIGHTS
from miniature.world import SIDE_PX, draw_portrait, draw_scene, person_of, render
from withanyone_core.command import run_command

_FIRST = 1_000_000
_GENERATED, _A_ROW, _SHEET_SERIES = 40, 10, 5
_BESIDE = 8  # images that are shown beside the photos of their people


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
    return _stacked(rows)


def generated_sheet(seed: int, first_person: int, weights: Path) -> np.ndarray:
    """Images of one person, then of two, three and four, each in the boxes of the presets; uint8 RGB."""
    from miniature.lab.evidence.dataset import COUNTS, Dataset, References
    from miniature.lab.steering import shipped_photo_reader, shipped_steered_generator

    dataset = Dataset(seed, first_person)
    references = References(dataset, shipped_photo_reader(weights))
    samples = [dataset.sample(_SHEET_SERIES, row, count) for count in COUNTS for row in range(_GENERATED)]
    images = shipped_steered_generator(weights).generate([references.request(sample) for sample in samples])
    return _stacked([images[start : start + _A_ROW] for start in range(0, len(images), _A_ROW)])


def beside_sheet(seed: int, first_person: int, weights: Path) -> np.ndarray:
    """Each row twice the photos of two people and what was generated of them; uint8 RGB."""
    from miniature.lab.evidence.dataset import Dataset, References
    from miniature.lab.steering import shipped_photo_reader, shipped_steered_generator

    dataset, reader = Dataset(seed, first_person), shipped_photo_reader(weights)
    references = References(dataset, reader)
    samples = [dataset.sample(_SHEET_SERIES, row, 2) for row in range(_BESIDE)]
    images = shipped_steered_generator(weights).generate([references.request(sample) for sample in samples])
    cells = [
        [*(_small(dataset.reference_photo(place, reader.analysis)) for place in sample.people), image]
        for sample, image in zip(samples, images, strict=True)
    ]
    return _stacked([[*cells[at], *cells[at + 1]] for at in range(0, _BESIDE, 2)])


def _small(photo: np.ndarray) -> np.ndarray:
    return cv2.resize(photo, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def _stacked(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    joined = [_joined(row) for row in rows]
    gap = np.full((4, joined[0].shape[1], 3), 250, np.uint8)
    return np.concatenate([gap] + [part for row in joined for part in (row, gap)])


def _joined(row: list[np.ndarray]) -> np.ndarray:
    gap = np.full((row[0].shape[0], 4, 3), 250, np.uint8)
    return np.concatenate([gap] + [part for image in row for part in (image, gap)], 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the sheet could be written, 1 if not, 2 for anything given wrongly."""
    return run_command("contact_sheet", _parser(), _run, arguments, lambda options: options.out is None)


def _run(options: argparse.Namespace) -> int:
    if options.beside:
        image = beside_sheet(options.seed, options.first_person, options.weights)
    elif options.generated:
        image = generated_sheet(options.seed, options.first_person, options.weights)
    else:
        image = sheet(options.seed, options.people, options.looks, options.size)
    if not cv2.imwrite(str(options.out), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86]):
        sys.stderr.write(f"contact_sheet: cannot write {options.out}; give a .jpg or .png in a folder that exists\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="image to write, .jpg or .png")
    parser.add_argument("--seed", type=int, default=5, help="which people and scenes")
    parser.add_argument("--people", type=int, default=4, help="rows of portraits")
    parser.add_argument("--looks", type=int, default=7, help="images in a row")
    parser.add_argument("--size", type=int, default=SIDE_PX, help="pixels of an image's side")
    parser.add_argument("--generated", action="store_true", help="by the shipped models instead of the renderer")
    parser.add_argument("--beside", action="store_true", help="generated images of two beside the people's photos")
    parser.add_argument("--first-person", type=int, default=_FIRST, help="of those generated")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the shipped models")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
