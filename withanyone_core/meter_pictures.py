"""What the meter shows: a table of every face, a plot, and two batches side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .meter import TRAINED_WITH_WORDS, Comparison, Measured, mean_likeness
from .metrics.case import BoxPx, CaseScores, IdentityScore, JudgeInfo
from .metrics.summary import Statistic
from .preview import CANVAS, GRID, colour_of

BACKGROUND, STRIPE, FAINT, RED = CANVAS, (58, 60, 65), (165, 168, 175), (255, 92, 92)
TRUTH_SIDE, PHOTO_SIDE = (86, 196, 178), (242, 152, 74)  # of the copy-paste gauge
SCALE = ((44, 47, 62), (52, 84, 140), (38, 140, 142), (118, 190, 92), (250, 228, 86))  # cosines 0 to 1 in even steps
MARGIN, LINE_PX, TITLE_PX = 20, 26, 44
LARGE, NORMAL, SMALL = 26, 19, 15
MOST_PICTURES = 40  # in a table; the numbers hold all
MOST_NUMBERED = 24  # points of a plot that are numbered and joined
ROW_PX, HEADER_PX = 52, 84
PICTURE_PX, PERSON_PX, FACE_PX, LIKE_PX, GAUGE_PX, COUNT_PX = 84, 170, 60, 112, 220, 130
PLOT_PX, PLOT_WIDTH_PX = 460, 660
CELL_WIDTH_PX, CELL_HEIGHT_PX = 96, 64
METRIC_WORDS = {
    "sim_gt": ("similarity to the truth", 0.0, 1.0, "higher is better"),
    "sim_ref": ("similarity to the reference", 0.0, 1.0, "higher with both likeness and copying"),
    "copy_paste": ("copy-paste", -1.0, 1.0, "-1 the truth, +1 the reference photo"),
    "leakage": ("leakage", 0.0, 1.0, "how much faces look like the others' references; lower is better"),
    "blending": ("blending", 0.0, 1.0, "the same against the truth; lower is better"),
}

Colour = tuple[int, int, int]


def draw_table(measured: Measured, pictures: Sequence[np.ndarray], crops: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 [height, width, 3]: a row for each picture and person, with the face that was taken for them.

    pictures  RGB uint8 [H, W, 3], those that were measured; only the first 40 are shown
    crops     RGB uint8 square, one a person
    """
    shown = measured.scores[:MOST_PICTURES]
    columns = _columns(measured)
    footer = _footer(measured)
    width = max(2 * MARGIN + sum(columns.values()), 760)
    lines = [line for text in footer for line in _wrapped(text, SMALL, width - 2 * MARGIN)]
    rows = sum(len(score.identities) for score in shown)
    height = TITLE_PX + 2 * MARGIN + HEADER_PX + rows * ROW_PX + 2 * MARGIN + LINE_PX * (2 + len(lines))
    picture, draw = _sheet(width, height)
    _text(draw, (MARGIN, MARGIN), "Identity Meter", "white", LARGE)
    against = f", compared with the {measured.against}" if measured.against else ""
    pictures_measured = _counted(len(measured.scores), "picture")
    _text(draw, (width - MARGIN, MARGIN + 6), f"{pictures_measured}{against}", FAINT, SMALL, "ra")
    y = MARGIN + TITLE_PX
    _draw_header(picture, draw, measured, columns, crops, y)
    y += HEADER_PX
    for number, (score, behind, boxes) in enumerate(zip(shown, pictures, measured.boxes_px, strict=False)):
        block = len(score.identities) * ROW_PX
        if number % 2 == 0:
            draw.rectangle((MARGIN, y, width - MARGIN, y + block - 1), fill=STRIPE)
        _draw_block(picture, draw, measured, columns, number, score, behind, boxes, y)
        y += block
    y += MARGIN
    _draw_scale(draw, MARGIN, y, "similarity (cosine)")
    if len(measured.people) > 1:
        draw.rectangle((MARGIN + 460, y + 1, MARGIN + 480, y + 15), outline=RED, width=3)
        _text(draw, (MARGIN + 488, y), "more like somebody else", FAINT, SMALL)
    for index, line in enumerate(lines):
        _text(draw, (MARGIN, y + LINE_PX * (2 + index)), line, FAINT, SMALL)
    return np.asarray(picture)


def draw_plot(measured: Measured) -> np.ndarray:
    """uint8 [height, width, 3]: likeness against copying where known, else a bar a face; and who looks like whom.

    The matrix is the mean over the pictures.
    """
    people = len(measured.people)
    matrix = PERSON_PX + people * CELL_WIDTH_PX
    width = 2 * MARGIN + PLOT_WIDTH_PX + 2 * MARGIN + max(matrix, 450)
    height = 2 * MARGIN + TITLE_PX + max(PLOT_PX + 50, 90 + people * CELL_HEIGHT_PX + 60) + LINE_PX
    picture, draw = _sheet(width, height)
    corner = MARGIN, MARGIN + TITLE_PX
    if any(score.copy_paste is not None for score in measured.scores):
        _text(draw, (MARGIN, MARGIN), f"Likeness to the {measured.against} against copying", "white", LARGE)
        _draw_scatter(draw, measured, corner)
    else:
        _text(draw, (MARGIN, MARGIN), "Likeness to the references", "white", LARGE)
        _draw_bars(draw, measured, corner)
    left = MARGIN + PLOT_WIDTH_PX + 2 * MARGIN
    _text(draw, (left, MARGIN), "Whose face looks like whom", "white", LARGE)
    _draw_matrix(draw, measured, (left, MARGIN + TITLE_PX))
    words = f"{_judge_words(measured.judge)}{_unplotted_words(measured)}"
    _text(draw, (MARGIN, height - MARGIN - SMALL), _fitted(words, SMALL, width - 2 * MARGIN), FAINT, SMALL)
    return np.asarray(picture)


def draw_comparison(
    names: tuple[str, str], batches: tuple[Measured, Measured], rows: Sequence[Comparison]
) -> np.ndarray:
    """uint8 [height, width, 3]: for each metric both means and their difference, with 95 % intervals."""
    width, block = 1024, 128
    height = 2 * MARGIN + TITLE_PX + LINE_PX + block * len(rows) + 3 * LINE_PX + MARGIN
    picture, draw = _sheet(width, height)
    _text(draw, (MARGIN, MARGIN), "Compare Batches", "white", LARGE)
    sizes = (_counted(len(batch.scores), "picture") for batch in batches)
    for number, (name, size) in enumerate(zip(names, sizes, strict=True), start=1):
        x = MARGIN + (number - 1) * 420
        draw.rectangle((x, MARGIN + TITLE_PX + 4, x + 14, MARGIN + TITLE_PX + 18), fill=colour_of(number))
        _text(draw, (x + 24, MARGIN + TITLE_PX), _fitted(f"{name}, {size}", NORMAL, 380), "white", NORMAL)
    y = MARGIN + TITLE_PX + LINE_PX + MARGIN
    for row in rows:
        _draw_compared(draw, row, y, width, batches[0].against)
        y += block
    for line in (
        "Dots are means over pictures, bars their 95 % bootstrap intervals. A difference whose interval leaves out 0 "
        "is shown in white.",
        _judge_words(batches[0].judge),
        _lost_words(names, batches),
    ):
        _text(draw, (MARGIN, y), _fitted(line, SMALL, width - 2 * MARGIN), FAINT, SMALL)
        y += LINE_PX
    return np.asarray(picture)


def _columns(measured: Measured) -> dict[str, int]:
    """Widths in pixels in their order; the copy-paste gauge only where there is something to compare with."""
    columns = {"picture": PICTURE_PX, "person": PERSON_PX, "face": FACE_PX}
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
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    measured: Measured,
    columns: dict[str, int],
    crops: Sequence[np.ndarray],
    y: int,
) -> None:
    lefts, base = _lefts(columns), y + HEADER_PX - 12
    titles = {"picture": "picture", "person": "person", "face": "face", "count": "faces found"}
    for name, title in titles.items():
        _text(draw, (lefts[name] + 8, base), title, FAINT, SMALL, "ls")
    for index, (person, crop) in enumerate(zip(measured.people, crops, strict=True)):
        middle = lefts[f"like {index}"] + LIKE_PX // 2
        _paste(picture, draw, crop, (middle - 22, y, middle + 22, y + 44), colour_of(index + 1))
        _text(draw, (middle, base), _fitted(f"like {person}", SMALL, LIKE_PX - 8), colour_of(index + 1), SMALL, "ms")
    if "truth" in lefts:
        against = "truth" if measured.against == "truth" else "2nd photo"
        _text(draw, (lefts["truth"] + LIKE_PX // 2, base), f"like {against}", FAINT, SMALL, "ms")
        left, right = lefts["gauge"] + 14, lefts["gauge"] + GAUGE_PX - 70
        _text(draw, ((left + right) // 2, base - 22), "copy-paste", FAINT, SMALL, "ms")
        _text(draw, (left, base), f"{against}", TRUTH_SIDE, SMALL, "ls")
        _text(draw, (right, base), "pasted", PHOTO_SIDE, SMALL, "rs")


def _draw_block(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    measured: Measured,
    columns: dict[str, int],
    number: int,
    score: CaseScores,
    behind: np.ndarray,
    boxes: Sequence[BoxPx | None],
    y: int,
) -> None:
    """The rows of one picture."""
    lefts, middle = _lefts(columns), y + ROW_PX // 2
    _text(draw, (lefts["picture"] + 8, middle), str(number + 1), "white", NORMAL, "lm")
    right = score.generated == score.expected
    _text(draw, (lefts["count"] + 8, middle), str(score.generated), "white" if right else RED, NORMAL, "lm")
    if not right:
        x = lefts["count"] + 16 + _length(str(score.generated), NORMAL)
        _text(draw, (x, middle), f"for {_counted(score.expected, 'person', 'people')}", RED, SMALL, "lm")
    for index, (item, box) in enumerate(zip(score.identities, boxes, strict=True)):
        _draw_row(picture, draw, measured, lefts, index, item, score, behind, box, y + index * ROW_PX)


def _draw_row(
    picture: Image.Image,
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
    person = _fitted(measured.people[index], NORMAL, PERSON_PX - 16)
    _text(draw, (lefts["person"] + 8, middle), person, own, NORMAL, "lm")
    if box is None:
        _text(draw, (lefts["face"] + 8, middle), "lost", RED, NORMAL, "lm")
    else:
        _paste(picture, draw, _around(behind, box), (lefts["face"] + 8, y + 4, lefts["face"] + 52, y + 48), own)
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


def _beaten(row: Sequence[float | None], index: int) -> bool:
    own = row[index]
    return own is not None and any(value is not None and value > own for value in row)


def _draw_likeness(draw: ImageDraw.ImageDraw, x: int, y: int, value: float | None, outline: Colour | None) -> None:
    edges = x + 4, y + 4, x + LIKE_PX - 5, y + ROW_PX - 5
    _draw_value(draw, edges, value, outline)


def _draw_value(
    draw: ImageDraw.ImageDraw, edges: tuple[int, int, int, int], value: float | None, outline: Colour | None
) -> None:
    """A cell in the colour of its cosine; a dash where there is none."""
    middle = (edges[0] + edges[2]) // 2, (edges[1] + edges[3]) // 2
    if value is None:
        _text(draw, middle, "-", FAINT, NORMAL, "mm")
        return
    fill = scale_colour(value)
    draw.rectangle(edges, fill=fill, outline=outline, width=3)
    _text(draw, middle, f"{value:.2f}", _readable_on(fill), NORMAL, "mm")


def _draw_gauge(draw: ImageDraw.ImageDraw, x: int, y: int, value: float | None) -> None:
    """A bar from the middle to the left (truth, -1) or right (reference, +1), which an angle may go beyond."""
    left, right, middle_y = x + 14, x + GAUGE_PX - 70, y + ROW_PX // 2
    centre = (left + right) // 2
    draw.rectangle((left, middle_y - 7, right, middle_y + 7), fill=GRID)
    if value is None:
        _text(draw, (right + 14, middle_y), "-", FAINT, NORMAL, "lm")
        return
    end = round(centre + max(-1.0, min(1.0, value)) * (right - centre))
    colour = PHOTO_SIDE if value > 0 else TRUTH_SIDE
    draw.rectangle((min(centre, end), middle_y - 7, max(centre, end), middle_y + 7), fill=colour)
    draw.line((centre, middle_y - 12, centre, middle_y + 12), fill="white", width=2)
    _text(draw, (right + 10, middle_y), f"{value:+.2f}", "white", NORMAL, "lm")


def _draw_scatter(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int]) -> None:
    """Copy-paste from left to right, likeness upwards: small dots are faces, numbered circles the pictures' means."""
    likeness = [item.sim_gt for score in measured.scores for item in score.identities if item.sim_gt is not None]
    lowest = min([0.0, *likeness])
    axes = _Axes(corner, (-1.0, 1.0), (_floor_quarter(lowest), 1.0))
    axes.draw(draw, "copy-paste:  -1 the truth itself,  +1 the reference photo itself", 5)
    draw.line((*axes.at(0, axes.y_range[0]), *axes.at(0, 1.0)), fill=FAINT, width=1)
    for score in measured.scores:
        for item in score.identities:
            if item.copy_paste is not None and item.sim_gt is not None:
                _dot(draw, axes.at(item.copy_paste, item.sim_gt), 6, colour_of(item.identity + 1))
    means = [
        (number, axes.at(score.copy_paste, score.sim_gt))
        for number, score in enumerate(measured.scores, start=1)
        if score.copy_paste is not None and score.sim_gt is not None
    ]
    numbered = len(measured.scores) <= MOST_NUMBERED
    if numbered and len(means) > 1:
        draw.line([place for _, place in means], fill="white", width=1)
    for number, place in means:
        _dot(draw, place, 12 if numbered else 4, (235, 236, 240))
        if numbered:
            _text(draw, place, str(number), BACKGROUND, SMALL, "mm")
    _draw_people(draw, measured, (corner[0], corner[1] + PLOT_PX + 24), "picture's mean")


def _unplotted_words(measured: Measured) -> str:
    """Which pictures have no place in the scatter."""
    without = [str(number) for number, score in enumerate(measured.scores, start=1) if score.copy_paste is None]
    if not without or len(without) == len(measured.scores):
        return ""
    return f". No copy-paste score, hence not shown: picture {', '.join(without)}"


def _draw_bars(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int]) -> None:
    """For each picture a bar a person; a lost face leaves a red mark at 0."""
    values = [item.sim_ref for score in measured.scores for item in score.identities if item.sim_ref is not None]
    axes = _Axes(corner, (0.0, float(len(measured.scores))), (_floor_quarter(min([0.0, *values])), 1.0))
    axes.draw(draw, "picture", 0)
    people = len(measured.people)
    slot = axes.width / len(measured.scores)
    bar = min(slot * 0.8 / people, 48.0)
    zero = axes.at(0, 0)[1]
    every = -(-len(measured.scores) // MOST_NUMBERED)
    for number, score in enumerate(measured.scores):
        middle = axes.at(number + 0.5, 0)[0]
        if number % every == 0:
            _text(draw, (middle, axes.bottom + 6), str(number + 1), FAINT, SMALL, "ma")
        for item in score.identities:
            left = middle + (item.identity - people / 2) * bar
            if item.lost:
                _text(draw, (left + bar / 2, zero - 8), "lost" if bar > 34 else "x", RED, SMALL, "ms")
            elif item.sim_ref is not None:
                top = axes.at(0, item.sim_ref)[1]
                edges = left, min(top, zero), max(left + 1, left + bar - 2), max(top, zero)
                draw.rectangle(edges, fill=colour_of(item.identity + 1))
    draw.line((axes.left, zero, axes.left + axes.width, zero), fill=FAINT, width=1)
    _draw_people(draw, measured, (corner[0], corner[1] + PLOT_PX + 24))


class _Axes:
    """A frame of PLOT_WIDTH_PX x PLOT_PX, and where a value lies in it."""

    def __init__(self, corner: tuple[int, int], x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_range, self.y_range = x_range, y_range
        self.left, self.top = corner[0] + 54, corner[1] + 8
        self.width, self.height = PLOT_WIDTH_PX - 64, PLOT_PX - 56
        self.bottom = self.top + self.height

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a value; what lies outside is drawn on the edge."""
        (x1, x2), (y1, y2) = self.x_range, self.y_range
        along = min(max((x - x1) / (x2 - x1), 0.0), 1.0)
        up = min(max((y - y1) / (y2 - y1), 0.0), 1.0)
        return self.left + along * self.width, self.bottom - up * self.height

    def draw(self, draw: ImageDraw.ImageDraw, x_title: str, x_ticks: int) -> None:
        draw.rectangle((self.left, self.top, self.left + self.width, self.bottom), fill=STRIPE)
        for value in np.arange(self.y_range[0], self.y_range[1] + 0.01, 0.25):
            _, y = self.at(self.x_range[0], value)
            draw.line((self.left, y, self.left + self.width, y), fill=(76, 78, 84))
            _text(draw, (self.left - 8, y), f"{value:.2f}", FAINT, SMALL, "rm")
        for value in np.linspace(*self.x_range, x_ticks) if x_ticks else ():
            x, _ = self.at(value, self.y_range[0])
            draw.line((x, self.top, x, self.bottom), fill=(76, 78, 84))
            _text(draw, (x, self.bottom + 6), f"{value:+.1f}" if value else "0", FAINT, SMALL, "ma")
        _text(draw, (self.left + self.width / 2, self.bottom + 28), x_title, FAINT, SMALL, "ma")


def _draw_people(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int], mean_title: str = "") -> None:
    """A legend in one line, as many people as there is room for."""
    x, y = corner
    if mean_title:
        _dot(draw, (x + 8, y + 8), 8, (235, 236, 240))
        _text(draw, (x + 24, y), mean_title, FAINT, SMALL)
        x += 40 + round(_length(mean_title, SMALL))
    for number, person in enumerate(measured.people, start=1):
        name = _fitted(person, SMALL, 130)
        if x + 40 + _length(name, SMALL) > corner[0] + PLOT_WIDTH_PX:
            _text(draw, (x, y), "...", FAINT, SMALL)
            return
        _dot(draw, (x + 8, y + 8), 6, colour_of(number))
        _text(draw, (x + 22, y), name, FAINT, SMALL)
        x += 38 + round(_length(name, SMALL))


def _draw_matrix(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int]) -> None:
    x, y = corner
    rows = mean_likeness(measured.scores)
    many = "" if len(measured.scores) == 1 else f", mean of {len(measured.scores)} pictures"
    _text(draw, (x, y), f"rows: the face taken for; columns: the reference of{many}", FAINT, SMALL)
    top, left = y + 62, x + 150
    for index, person in enumerate(measured.people):
        name = _fitted(person, SMALL, CELL_WIDTH_PX - 8)
        _text(draw, (left + (index + 0.5) * CELL_WIDTH_PX, top - 8), name, colour_of(index + 1), SMALL, "ms")
        name = _fitted(person, SMALL, 140)
        _text(draw, (left - 10, top + (index + 0.5) * CELL_HEIGHT_PX), name, colour_of(index + 1), SMALL, "rm")
        for other, value in enumerate(rows[index]):
            cell_x, cell_y = left + other * CELL_WIDTH_PX, top + index * CELL_HEIGHT_PX
            edges = cell_x + 2, cell_y + 2, cell_x + CELL_WIDTH_PX - 3, cell_y + CELL_HEIGHT_PX - 3
            _draw_value(draw, edges, value, colour_of(index + 1) if other == index else None)
    _draw_scale(draw, x, top + len(rows) * CELL_HEIGHT_PX + 24, "")


def _draw_scale(draw: ImageDraw.ImageDraw, x: int, y: int, title: str) -> None:
    """The colours of cosines from 0 to 1."""
    _text(draw, (x, y), title, FAINT, SMALL)
    left, width = x + (150 if title else 0), 280
    for step in range(width):
        draw.line((left + step, y, left + step, y + 16), fill=scale_colour(step / (width - 1)))
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        _text(draw, (left + value * width, y + 20), f"{value:g}", FAINT, SMALL, "ma")


def _draw_compared(draw: ImageDraw.ImageDraw, row: Comparison, y: int, width: int, against: str) -> None:
    title, lowest, highest, better = METRIC_WORDS[row.metric]
    title, better = (words.replace("the truth", f"the {against}") for words in (title, better))
    _text(draw, (MARGIN, y), title, "white", NORMAL)
    _text(draw, (MARGIN + _length(title, NORMAL) + 14, y + 3), better, FAINT, SMALL)
    values = [
        edge
        for side in (row.first, row.second)
        if side
        for edge in (side.mean, side.low, side.high)
        if edge is not None
    ]
    lowest, highest = min([lowest, *values]), max([highest, *values])
    left, right = MARGIN + 10, MARGIN + 430
    for number, side in enumerate((row.first, row.second), start=1):
        line_y = y + 22 + number * 24
        draw.line((left, line_y, right, line_y), fill=(82, 84, 90), width=1)
        _draw_statistic(draw, side, line_y, (left, right), (lowest, highest), colour_of(number))
        _text(draw, (right + 20, line_y), _statistic_words(side), colour_of(number), SMALL, "lm")
    _text(draw, (left, y + 90), f"{lowest:g}" if lowest == int(lowest) else f"{lowest:.2f}", FAINT, SMALL, "mm")
    _text(draw, (right, y + 90), f"{highest:g}" if highest == int(highest) else f"{highest:.2f}", FAINT, SMALL, "mm")
    how = "picture by picture" if row.paired else "the batches as a whole"
    sure = row.change is not None and row.change.low is not None and (row.change.low > 0 or row.change.high < 0)
    x = width - MARGIN - 290
    _text(draw, (x, y + 36), "difference, second minus first", FAINT, SMALL)
    _text(draw, (x, y + 58), _change_words(row.change), "white" if sure else FAINT, NORMAL)
    if row.change is not None:
        _text(draw, (x, y + 84), how, FAINT, SMALL)


def _draw_statistic(
    draw: ImageDraw.ImageDraw,
    side: Statistic | None,
    y: int,
    edges: tuple[int, int],
    values: tuple[float, float],
    colour: Colour,
) -> None:
    if side is None:
        return

    def at(value: float) -> float:
        return edges[0] + (value - values[0]) / (values[1] - values[0]) * (edges[1] - edges[0])

    if side.low is not None and side.high is not None:
        draw.line((at(side.low), y, at(side.high), y), fill=colour, width=5)
    _dot(draw, (at(side.mean), y), 8, colour)


def _statistic_words(side: Statistic | None) -> str:
    if side is None:
        return "no value"
    interval = "one picture" if side.low is None else f"{side.low:.3f} to {side.high:.3f}"
    return f"{side.mean:.3f}  ({interval})" + (f", {side.n_missing} without" if side.n_missing else "")


def _change_words(change: Statistic | None) -> str:
    if change is None:
        return "no value"
    interval = "" if change.low is None else f"  ({change.low:+.3f} to {change.high:+.3f})"
    return f"{change.mean:+.3f}{interval}"


def _lost_words(names: tuple[str, str], batches: tuple[Measured, Measured]) -> str:
    lost = [sum(len(score.lost) for score in batch.scores) for batch in batches]
    expected = [sum(score.expected for score in batch.scores) for batch in batches]
    return "Lost faces: " + ", ".join(
        f"{name} {count} of {of}" for name, count, of in zip(names, lost, expected, strict=True)
    )


def _footer(measured: Measured) -> list[str]:
    lines = [_judge_words(measured.judge)]
    hidden = len(measured.scores) - MOST_PICTURES
    if hidden > 0:
        lines.append(f"{hidden} more pictures are not shown; the numbers hold them all.")
    per_picture: dict[str, list[str]] = {}
    for number, score in enumerate(measured.scores, start=1):
        for note in score.notes:
            per_picture.setdefault(note, []).append(str(number))
    for note, where in per_picture.items():
        everywhere = len(where) == len(measured.scores)
        lines.append(note if everywhere else f"Picture {', '.join(where)}: {note}")
    return [*lines, *measured.notes]


def _judge_words(judge: JudgeInfo) -> str:
    return f"Judge: {judge.name}" + (f" - {TRAINED_WITH_WORDS}" if judge.trained_with else "")


def scale_colour(value: float) -> Colour:
    """RGB 0 to 255 of a cosine; below 0 as 0, above 1 as 1."""
    place = min(max(value, 0.0), 1.0) * (len(SCALE) - 1)
    step = min(int(place), len(SCALE) - 2)
    return tuple(round(a + (b - a) * (place - step)) for a, b in zip(SCALE[step], SCALE[step + 1], strict=True))


def _readable_on(fill: Colour) -> Colour:
    red, green, blue = fill
    return (24, 25, 28) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)


def _floor_quarter(value: float) -> float:
    return float(np.floor(value * 4) / 4)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _around(picture: np.ndarray, box: BoxPx) -> np.ndarray:
    """The square around a face, moved inside the picture and no larger than it."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    side = int(max(1, min(max(x2 - x1, y2 - y1) * 1.3, width, height)))
    left = int(min(max((x1 + x2 - side) / 2, 0), width - side))
    top = int(min(max((y1 + y2 - side) / 2, 0), height - side))
    return picture[top : top + side, left : left + side]


def _paste(
    picture: Image.Image, draw: ImageDraw.ImageDraw, part: np.ndarray, edges: tuple[int, int, int, int], colour: Colour
) -> None:
    x1, y1, x2, y2 = edges
    small = Image.fromarray(np.ascontiguousarray(part)).resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS)
    picture.paste(small, (x1, y1))
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=2)


def _sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (width, height), BACKGROUND)
    return picture, ImageDraw.Draw(picture)


def _dot(draw: ImageDraw.ImageDraw, place: tuple[float, float], radius: int, colour: Colour) -> None:
    x, y = place
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=BACKGROUND, width=1)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: Colour | str,
    size: int,
    anchor: str = "la",
) -> None:
    draw.text(place, text, fill=colour, font=ImageFont.load_default(size), anchor=anchor)


def _length(text: str, size: int) -> float:
    return ImageFont.load_default(size).getlength(text)


def _fitted(text: str, size: int, room: float) -> str:
    """The text, cut at its end and marked so where it is longer than the room."""
    if _length(text, size) <= room:
        return text
    while text and _length(f"{text}...", size) > room:
        text = text[:-1]
    return f"{text}..."


def _wrapped(text: str, size: int, room: float) -> list[str]:
    """The words of a text in lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _length(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_fitted(line, size, room) for line in lines]
