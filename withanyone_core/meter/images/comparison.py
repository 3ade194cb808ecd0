"""Two batches side by side, with their intervals."""

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from ...metrics.summary import Statistic
from ...regions.preview import colour_of
from ..comparing import Comparison
from ..measuring import Measured
from .sheet import (
    FAINT,
    LARGE,
    LINE_PX,
    MARGIN,
    NORMAL,
    SMALL,
    TITLE_PX,
    Colour,
    counted,
    dot,
    fitted,
    judge_words,
    new_sheet,
    text_length,
    write,
)

METRIC_WORDS = {
    "sim_gt": ("similarity to the truth", 0.0, 1.0, "higher is better"),
    "sim_ref": ("similarity to the reference", 0.0, 1.0, "higher with both likeness and copying"),
    "copy_paste": ("copy-paste", -1.0, 1.0, "-1 the truth, +1 the reference photo"),
    "leakage": ("leakage", 0.0, 1.0, "how much faces look like the others' references; lower is better"),
    "blending": ("blending", 0.0, 1.0, "the same against the truth; lower is better"),
}


def draw_comparison(
    names: tuple[str, str], batches: tuple[Measured, Measured], rows: Sequence[Comparison]
) -> np.ndarray:
    """uint8 [height, width, 3]: for each metric both means and their difference, with 95 % intervals."""
    width, block = 1024, 128
    height = 2 * MARGIN + TITLE_PX + LINE_PX + block * len(rows) + 3 * LINE_PX + MARGIN
    image, draw = new_sheet(width, height)
    write(draw, (MARGIN, MARGIN), "Compare Batches", "white", LARGE)
    sizes = (counted(len(batch.scores), "image") for batch in batches)
    for number, (name, size) in enumerate(zip(names, sizes, strict=True), start=1):
        x = MARGIN + (number - 1) * 420
        draw.rectangle((x, MARGIN + TITLE_PX + 4, x + 14, MARGIN + TITLE_PX + 18), fill=colour_of(number))
        write(draw, (x + 24, MARGIN + TITLE_PX), fitted(f"{name}, {size}", NORMAL, 380), "white", NORMAL)
    y = MARGIN + TITLE_PX + LINE_PX + MARGIN
    for row in rows:
        _draw_compared(draw, row, y, width, batches[0].against)
        y += block
    for line in (
        "Dots are means over images, bars their 95 % bootstrap intervals. A difference whose interval leaves out 0 "
        "is shown in white.",
        judge_words(batches[0].judge),
        _lost_words(names, batches),
    ):
        write(draw, (MARGIN, y), fitted(line, SMALL, width - 2 * MARGIN), FAINT, SMALL)
        y += LINE_PX
    return np.asarray(image)


def _draw_compared(draw: ImageDraw.ImageDraw, row: Comparison, y: int, width: int, against: str) -> None:
    title, lowest, highest, better = METRIC_WORDS[row.metric]
    title, better = (words.replace("the truth", f"the {against}") for words in (title, better))
    write(draw, (MARGIN, y), title, "white", NORMAL)
    write(draw, (MARGIN + text_length(title, NORMAL) + 14, y + 3), better, FAINT, SMALL)
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
        write(draw, (right + 20, line_y), _statistic_words(side), colour_of(number), SMALL, "lm")
    write(draw, (left, y + 90), f"{lowest:g}" if lowest == int(lowest) else f"{lowest:.2f}", FAINT, SMALL, "mm")
    write(draw, (right, y + 90), f"{highest:g}" if highest == int(highest) else f"{highest:.2f}", FAINT, SMALL, "mm")
    how = "image by image" if row.paired else "the batches as a whole"
    interval = None if row.change is None else row.change.interval
    sure = interval is not None and (interval[0] > 0 or interval[1] < 0)
    x = width - MARGIN - 290
    write(draw, (x, y + 36), "difference, second minus first", FAINT, SMALL)
    write(draw, (x, y + 58), _change_words(row.change), "white" if sure else FAINT, NORMAL)
    if row.change is not None:
        write(draw, (x, y + 84), how, FAINT, SMALL)


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
    dot(draw, (at(side.mean), y), 8, colour)


def _statistic_words(side: Statistic | None) -> str:
    if side is None:
        return "no value"
    interval = "one image" if side.low is None else f"{side.low:.3f} to {side.high:.3f}"
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
