"""The meter's table: every face of every image, and what it looks like."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ...canvas import BoxPx
from ...identity_check.values import Finding
from ...metrics.case import CaseScores, IdentityScore
from ...regions.preview import GRID, colour_of
from ..measuring import Measured
from .sheet import (
    COUNT_PX,
    FACE_PX,
    FAINT,
    GAUGE_PX,
    IMAGE_PX,
    LARGE,
    LIKE_PX,
    LINE_PX,
    MARGIN,
    MOST_IMAGES,
    NORMAL,
    PERSON_PX,
    RED,
    SMALL,
    STRIPE,
    TITLE_PX,
    Colour,
    counted,
    draw_scale,
    draw_value,
    fitted,
    footer_lines,
    new_sheet,
    paste,
    text_length,
    wrapped,
    write,
)

TRUTH_SIDE, PHOTO_SIDE = (86, 196, 178), (242, 152, 74)  # of the copy-paste gauge
ROW_PX, HEADER_PX = 52, 84


def draw_table(measured: Measured, images: Sequence[np.ndarray], crops: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 [height, width, 3]: a row for each image and person, with the face that was taken for them.

    images  RGB uint8 [H, W, 3], those that were measured; only the first 40 are shown
    crops     RGB uint8 square, one a person
    """
    shown = measured.scores[:MOST_IMAGES]
    columns = _columns(measured)
    footer = footer_lines(measured)
    width = max(2 * MARGIN + sum(columns.values()), 760)
    lines = [line for text in footer for line in wrapped(text, SMALL, width - 2 * MARGIN)]
    rows = sum(len(score.identities) for score in shown)
    height = TITLE_PX + 2 * MARGIN + HEADER_PX + rows * ROW_PX + 2 * MARGIN + LINE_PX * (2 + len(lines))
    image, draw = new_sheet(width, height)
    write(draw, (MARGIN, MARGIN), "Identity Meter", "white", LARGE)
    against = f", compared with the {measured.against}" if measured.against else ""
    images_measured = counted(len(measured.scores), "image")
    write(draw, (width - MARGIN, MARGIN + 6), f"{images_measured}{against}", FAINT, SMALL, "ra")
    y = MARGIN + TITLE_PX
    _draw_header(image, draw, measured, columns, crops, y)
    y += HEADER_PX
    for number, (score, behind, boxes) in enumerate(zip(shown, images, measured.boxes_px, strict=False)):
        block = len(score.identities) * ROW_PX
        if number % 2 == 0:
            draw.rectangle((MARGIN, y, width - MARGIN, y + block - 1), fill=STRIPE)
        _draw_block(image, draw, measured, columns, number, score, behind, boxes, y)
        y += block
    y += MARGIN
    draw_scale(draw, MARGIN, y, "similarity (cosine)")
    if len(measured.people) > 1:
        draw.rectangle((MARGIN + 460, y + 1, MARGIN + 480, y + 15), outline=RED, width=3)
        write(draw, (MARGIN + 488, y), "more like somebody else", FAINT, SMALL)
    for index, line in enumerate(lines):
        write(draw, (MARGIN, y + LINE_PX * (2 + index)), line, FAINT, SMALL)
    return np.asarray(image)


def _columns(measured: Measured) -> dict[str, int]:
    """Widths in pixels in their order; the copy-paste gauge only where there is something to compare with."""
    columns = {"image": IMAGE_PX, "person": PERSON_PX, "face": FACE_PX}
    columns |= {f"like {index}": LIKE_PX for index in range(len(measured.people))}
    if measured.against:
        columns |= {"truth": LIKE_PX, "gauge": GAUGE_PX}
    return columns | {"count": COUNT_PX}


def _lefts(columns: dict[str, int]) -> dict[str, int]:
    lefts, x = {}, MARGIN
    for name, width in columns.items():
        lefts[name], x = x, x + width
    return lefts


def _draw_header(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    measured: Measured,
    columns: dict[str, int],
    crops: Sequence[np.ndarray],
    y: int,
) -> None:
    lefts, base = _lefts(columns), y + HEADER_PX - 12
    titles = {"image": "image", "person": "person", "face": "face", "count": "faces found"}
    for name, title in titles.items():
        write(draw, (lefts[name] + 8, base), title, FAINT, SMALL, "ls")
    for index, (person, crop) in enumerate(zip(measured.people, crops, strict=True)):
        middle = lefts[f"like {index}"] + LIKE_PX // 2
        paste(image, draw, crop, (middle - 22, y, middle + 22, y + 44), colour_of(index + 1))
        write(draw, (middle, base), fitted(f"like {person}", SMALL, LIKE_PX - 8), colour_of(index + 1), SMALL, "ms")
    if "truth" in lefts:
        against = "truth" if measured.against == "truth" else "2nd photo"
        write(draw, (lefts["truth"] + LIKE_PX // 2, base), f"like {against}", FAINT, SMALL, "ms")
        left, right = lefts["gauge"] + 14, lefts["gauge"] + GAUGE_PX - 70
        write(draw, ((left + right) // 2, base - 22), "copy-paste", FAINT, SMALL, "ms")
        write(draw, (left, base), f"{against}", TRUTH_SIDE, SMALL, "ls")
        write(draw, (right, base), "pasted", PHOTO_SIDE, SMALL, "rs")


def _draw_block(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    measured: Measured,
    columns: dict[str, int],
    number: int,
    score: CaseScores,
    behind: np.ndarray,
    boxes: Sequence[BoxPx | None],
    y: int,
) -> None:
    """The rows of one image."""
    lefts, middle = _lefts(columns), y + ROW_PX // 2
    write(draw, (lefts["image"] + 8, middle), str(number + 1), "white", NORMAL, "lm")
    right = score.generated == score.expected
    write(draw, (lefts["count"] + 8, middle), str(score.generated), "white" if right else RED, NORMAL, "lm")
    if not right:
        x = lefts["count"] + 16 + text_length(str(score.generated), NORMAL)
        write(draw, (x, middle), f"for {counted(score.expected, 'person', 'people')}", RED, SMALL, "lm")
    for index, (item, box) in enumerate(zip(score.identities, boxes, strict=True)):
        _draw_row(image, draw, measured, lefts, index, item, score, behind, box, y + index * ROW_PX)


def _draw_row(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    measured: Measured,
    lefts: dict[str, int],
    index: int,
    item: IdentityScore,
    score: CaseScores,
    behind: np.ndarray,
    box: BoxPx | None,
    y: int,
) -> None:
    middle, own = y + ROW_PX // 2, colour_of(index + 1)
    person = fitted(measured.people[index], NORMAL, PERSON_PX - 16)
    finding = _finding(measured, score, index)
    write(draw, (lefts["person"] + 8, middle - (10 if finding else 0)), person, own, NORMAL, "lm")
    if finding:
        colour = PHOTO_SIDE if finding.name == "pasted" else RED if finding.is_fault else FAINT
        write(
            draw, (lefts["person"] + 8, middle + 13), fitted(finding.text, SMALL, PERSON_PX - 16), colour, SMALL, "lm"
        )
    if box is None:
        write(draw, (lefts["face"] + 8, middle), "lost", RED, NORMAL, "lm")
    else:
        paste(image, draw, _around(behind, box), (lefts["face"] + 8, y + 4, lefts["face"] + 52, y + 48), own)
    row = score.likeness_ref[index]
    highest = max((value for value in row if value is not None), default=None)
    for other, value in enumerate(row):
        outline = (
            own if other == index else RED if value is not None and value == highest and _beaten(row, index) else None
        )
        _draw_likeness(draw, lefts[f"like {other}"], y, value, outline)
    if "truth" in lefts:
        _draw_likeness(draw, lefts["truth"], y, None if item.lost else item.sim_gt, None)
        _draw_gauge(draw, lefts["gauge"], y, item.copy_paste)


def _finding(measured: Measured, score: CaseScores, index: int) -> Finding | None:
    """What became of that person in the image of these scores, None where nobody could be compared."""
    checked = next((each for each in measured.checked if each.image.name == score.name), None)
    findings = () if checked is None else checked.findings
    return next((each for each in findings if each.person == measured.people[index]), None)


def _beaten(row: Sequence[float | None], index: int) -> bool:
    own = row[index]
    return own is not None and any(value is not None and value > own for value in row)


def _draw_likeness(draw: ImageDraw.ImageDraw, x: int, y: int, value: float | None, outline: Colour | None) -> None:
    edges = x + 4, y + 4, x + LIKE_PX - 5, y + ROW_PX - 5
    draw_value(draw, edges, value, outline)


def _draw_gauge(draw: ImageDraw.ImageDraw, x: int, y: int, value: float | None) -> None:
    """A bar from the middle to the left (truth, -1) or right (reference, +1), which an angle may go beyond."""
    left, right, middle_y = x + 14, x + GAUGE_PX - 70, y + ROW_PX // 2
    centre = (left + right) // 2
    draw.rectangle((left, middle_y - 7, right, middle_y + 7), fill=GRID)
    if value is None:
        write(draw, (right + 14, middle_y), "-", FAINT, NORMAL, "lm")
        return
    end = round(centre + max(-1.0, min(1.0, value)) * (right - centre))
    colour = PHOTO_SIDE if value > 0 else TRUTH_SIDE
    draw.rectangle((min(centre, end), middle_y - 7, max(centre, end), middle_y + 7), fill=colour)
    draw.line((centre, middle_y - 12, centre, middle_y + 12), fill="white", width=2)
    write(draw, (right + 10, middle_y), f"{value:+.2f}", "white", NORMAL, "lm")


def _around(image: np.ndarray, box: BoxPx) -> np.ndarray:
    """The square around a face, moved inside the image and no larger than it."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    side = int(max(1, min(max(x2 - x1, y2 - y1) * 1.3, width, height)))
    left = int(min(max((x1 + x2 - side) / 2, 0), width - side))
    top = int(min(max((y1 + y2 - side) / 2, 0), height - side))
    return image[top : top + side, left : left + side]
