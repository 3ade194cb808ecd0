"""Where on the canvas an adapter was trained to put people. Most know every place; one trained on a few knows no other.

The file's header names those few, so that whoever puts somebody elsewhere can be warned.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import Tensor

from ..canvas import CELL_PX
from ..regions.cells import Grid, region_cells
from ..regions.drawn_boxes import boxes_from_json, boxes_to_json
from ..regions.layout import Box, PlacedFace, Region
from .checkpoint import AdapterFile, AdapterFileError

METADATA_KEY, CANVAS_KEY = "withanyone.places", "withanyone.places_canvas"  # of the safetensors header
_CANVAS = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")

logger = logging.getLogger("withanyone")


@dataclass(frozen=True)
class TrainedPlaces:
    """The only places an adapter was trained on: boxes of a canvas of that size."""

    boxes: tuple[Box, ...]
    width_px: int
    height_px: int

    def knows(self, region: Region) -> bool:
        """Whether it covers the same cells as one of the places."""
        # By cells: boxes that cover the same cells are the same place to the network.
        cells = self._cells(region)
        return any(torch.equal(cells, self._cells(box)) for box in self.boxes)

    def nearest(self, region: Region) -> Box:
        """The place whose middle is nearest to the region's."""
        middle = self._middle(region)
        return min(self.boxes, key=lambda box: float((self._middle(box) - middle).norm()))

    def readable(self) -> list[str]:
        """The boxes in pixels."""
        return [self._readable(box) for box in self.boxes]

    def position(self, region: Region) -> str:
        """A region for a message: a box in pixels, or that it is painted."""
        return self._readable(region) if isinstance(region, Box) else "a painted mask"

    def _readable(self, box: Box) -> str:
        return ", ".join(f"{value:.10g}" for value in box.to_px(self.width_px, self.height_px))

    def _cells(self, region: Region) -> Tensor:
        columns, rows = self.width_px // CELL_PX, self.height_px // CELL_PX
        return region_cells(region, Grid(columns, rows, self.width_px, self.height_px)).view(rows, columns)

    def _middle(self, region: Region) -> Tensor:
        """Mean row and column of the cells; the canvas's own where a mask covers half of none."""
        cells = self._cells(region).nonzero().double()
        return cells.mean(0) if len(cells) else torch.tensor(self._cells(region).shape).double() / 2


def places_header(boxes: Iterable[Box], width_px: int, height_px: int) -> dict[str, str]:
    """What the header of an adapter says that was trained on these boxes alone, of a canvas of that size."""
    return {METADATA_KEY: boxes_to_json(list(boxes)), CANVAS_KEY: f"{width_px}x{height_px}"}


def places_of(file: AdapterFile) -> TrainedPlaces | None:
    """The places the file's header names, None where it names none. AdapterFileError where they cannot be read."""
    with safe_open(file.path, framework="pt") as reader:
        metadata = reader.metadata() or {}
    if METADATA_KEY not in metadata:
        return None
    canvas = _CANVAS.fullmatch(metadata.get(CANVAS_KEY, ""))
    if canvas is None:
        raise AdapterFileError(
            f"{file.path.name} names the places it was trained on, but {CANVAS_KEY} reads "
            f"{metadata.get(CANVAS_KEY, '')!r}; expected width and height in pixels such as 176x176. Export it again."
        )
    try:
        boxes = boxes_from_json(metadata[METADATA_KEY])
    except ValueError as error:
        raise AdapterFileError(f"{file.path.name}: {METADATA_KEY} in its header cannot be read. {error}") from error
    return TrainedPlaces(boxes, int(canvas[1]), int(canvas[2]))


def warn_of_unknown_places(faces: Sequence[PlacedFace], file: AdapterFile) -> None:
    """One warning that names everybody who stands where the adapter was not trained, and the nearest place that is."""
    places = places_of(file)
    if places is None:
        return
    # Somebody of weight 0 is out of the attention, wherever they stand.
    astray = [face for face in faces if face.weight != 0 and not places.knows(face.region)]
    if not astray:
        return
    people = "; ".join(
        f"“{face.identity.name}” stands in {places.position(face.region)} (the nearest place is "
        f"{places.position(places.nearest(face.region))})"
        for face in astray
    )
    logger.warning(
        "%s, which is none of the %d places that %s was trained on, in pixels of a %dx%d canvas. A face may fail "
        "there: choose a preset of that canvas, or write the nearest place's box.",
        people,
        len(places.boxes),
        file.path.name,
        places.width_px,
        places.height_px,
    )
