"""Replays of boxes: the cells they reach, presets, and the crop around a detected face."""

import json
from collections.abc import Iterator
from pathlib import Path

from ...withanyone_core.canvas import CELL_PX
from ...withanyone_core.faces.crop import crop_rectangle
from ...withanyone_core.regions.cells import box_cells
from ...withanyone_core.regions.presets import PRESETS, letterbox
from .report import Outcome, exact, not_applicable
from .stored import tensors

GUIDE_WINDOW = "boxes are taken on the whole canvas, not in the released program's random window over a guide image"
_REPLACED = {
    "square_in_512": GUIDE_WINDOW,
    "general_face_preserving_resize_deterministic": GUIDE_WINDOW,
    "face_preserving_resize_deterministic": GUIDE_WINDOW,
}


def masks(path: Path) -> Iterator[Outcome]:
    """Every box's rectangle of cells, and the membership grid it draws, for both ways to round."""
    grids = tensors(path.with_suffix(".safetensors"))
    for case in json.loads(path.read_text()):
        name, columns, rows = case["case"], case["width"] // CELL_PX, case["height"] // CELL_PX
        for suffix, truncate in (("", False), ("_ke", True)):
            if truncate and not case["ke_differs"]:
                continue
            found = [_rectangle(box_cells(box, columns, rows, truncate)) for box in case["bboxes"]]
            yield exact(f"{name}{suffix} rectangles", found, case[f"token_rects{suffix}"])
            grid = grids[f"{name}{suffix}"]
            yield exact(
                f"{name}{suffix} grid", [_drawn(rectangle, rows, columns) for rectangle in found], grid.tolist()
            )


def helpers(path: Path) -> Iterator[Outcome]:
    stored = json.loads(path.read_text())
    for index, case in enumerate(stored["resize_bbox_512_to_target"]):
        found = list(letterbox(case["bbox"], *case["dst"]))
        if case["src"] == [512, 512]:
            yield exact(f"resize_bbox_512_to_target {index}", found, case["out"])
    for index, case in enumerate(stored["face_crop_rect"]):
        found = crop_rectangle(tuple(case["bbox_f32"]), *case["image_wh"])
        yield exact(f"face_crop_rect {index}", found and list(found), case["crop_box"])
    for people, layouts in stored["fallback_layouts"].items():
        known = sorted([list(box) for box in layout] for layout in PRESETS[int(people)])
        yield exact(f"fallback_layouts {people}", known, sorted(_as_boxes(layout) for layout in layouts))
    for name, reason in _REPLACED.items():
        yield not_applicable(name, reason)


def _rectangle(cells: tuple[int, int, int, int]) -> list[int] | None:
    column0, row0, column1, row1 = cells
    return list(cells) if column1 > column0 and row1 > row0 else None


def _drawn(rectangle: list[int] | None, rows: int, columns: int) -> list[list[int]]:
    column0, row0, column1, row1 = rectangle or (0, 0, 0, 0)
    return [
        [int(row0 <= row < row1 and column0 <= column < column1) for column in range(columns)] for row in range(rows)
    ]


def _as_boxes(layout: list) -> list[list[int]]:
    return [layout] if isinstance(layout[0], int) else [list(box) for box in layout]
