"""The meter's plot: likeness against copying, or, without ground truth, likeness and who leaks into whom."""

import numpy as np
from PIL import ImageDraw

from ...regions.preview import colour_of
from ..likeness import mean_likeness
from ..measuring import Measured
from .sheet import (
    BACKGROUND,
    FAINT,
    LARGE,
    LINE_PX,
    MARGIN,
    PERSON_PX,
    RED,
    SMALL,
    STRIPE,
    TITLE_PX,
    dot,
    draw_scale,
    draw_value,
    fitted,
    judge_words,
    new_sheet,
    text_length,
    write,
)

MOST_NUMBERED = 24  # points of a plot that are numbered and joined
PLOT_PX, PLOT_WIDTH_PX = 460, 660
CELL_WIDTH_PX, CELL_HEIGHT_PX = 96, 64


def draw_plot(measured: Measured) -> np.ndarray:
    """uint8 [height, width, 3]: likeness against copying where known, else a bar a face; and who looks like whom.

    The matrix is the mean over the images.
    """
    people = len(measured.people)
    matrix = PERSON_PX + people * CELL_WIDTH_PX
    width = 2 * MARGIN + PLOT_WIDTH_PX + 2 * MARGIN + max(matrix, 450)
    height = 2 * MARGIN + TITLE_PX + max(PLOT_PX + 50, 90 + people * CELL_HEIGHT_PX + 60) + LINE_PX
    image, draw = new_sheet(width, height)
    corner = MARGIN, MARGIN + TITLE_PX
    if any(score.copy_paste is not None for score in measured.scores):
        write(draw, (MARGIN, MARGIN), f"Likeness to the {measured.against} against copying", "white", LARGE)
        _draw_scatter(draw, measured, corner)
    else:
        write(draw, (MARGIN, MARGIN), "Likeness to the references", "white", LARGE)
        _draw_bars(draw, measured, corner)
    left = MARGIN + PLOT_WIDTH_PX + 2 * MARGIN
    write(draw, (left, MARGIN), "Whose face looks like whom", "white", LARGE)
    _draw_matrix(draw, measured, (left, MARGIN + TITLE_PX))
    words = f"{judge_words(measured.judge)}{_unplotted_words(measured)}"
    write(draw, (MARGIN, height - MARGIN - SMALL), fitted(words, SMALL, width - 2 * MARGIN), FAINT, SMALL)
    return np.asarray(image)


def _draw_scatter(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int]) -> None:
    """Copy-paste from left to right, likeness upwards: small dots are faces, numbered circles the images' means."""
    likeness = [item.sim_gt for score in measured.scores for item in score.identities if item.sim_gt is not None]
    lowest = min([0.0, *likeness])
    axes = _Axes(corner, (-1.0, 1.0), (_floor_quarter(lowest), 1.0))
    axes.draw(draw, "copy-paste:  -1 the truth itself,  +1 the reference photo itself", 5)
    draw.line((*axes.at(0, axes.y_range[0]), *axes.at(0, 1.0)), fill=FAINT, width=1)
    for score in measured.scores:
        for item in score.identities:
            if item.copy_paste is not None and item.sim_gt is not None:
                dot(draw, axes.at(item.copy_paste, item.sim_gt), 6, colour_of(item.identity + 1))
    means = [
        (number, axes.at(score.copy_paste, score.sim_gt))
        for number, score in enumerate(measured.scores, start=1)
        if score.copy_paste is not None and score.sim_gt is not None
    ]
    numbered = len(measured.scores) <= MOST_NUMBERED
    if numbered and len(means) > 1:
        draw.line([place for _, place in means], fill="white", width=1)
    for number, place in means:
        dot(draw, place, 12 if numbered else 4, (235, 236, 240))
        if numbered:
            write(draw, place, str(number), BACKGROUND, SMALL, "mm")
    _draw_people(draw, measured, (corner[0], corner[1] + PLOT_PX + 24), "image's mean")


def _unplotted_words(measured: Measured) -> str:
    """Which images have no place in the scatter."""
    without = [str(number) for number, score in enumerate(measured.scores, start=1) if score.copy_paste is None]
    if not without or len(without) == len(measured.scores):
        return ""
    return f". No copy-paste score, hence not shown: image {', '.join(without)}"


def _draw_bars(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int]) -> None:
    """For each image a bar a person; a lost face leaves a red mark at 0."""
    values = [item.sim_ref for score in measured.scores for item in score.identities if item.sim_ref is not None]
    axes = _Axes(corner, (0.0, float(len(measured.scores))), (_floor_quarter(min([0.0, *values])), 1.0))
    axes.draw(draw, "image", 0)
    people = len(measured.people)
    slot = axes.width / len(measured.scores)
    bar = min(slot * 0.8 / people, 48.0)
    zero = axes.at(0, 0)[1]
    every = -(-len(measured.scores) // MOST_NUMBERED)
    for number, score in enumerate(measured.scores):
        middle = axes.at(number + 0.5, 0)[0]
        if number % every == 0:
            write(draw, (middle, axes.bottom + 6), str(number + 1), FAINT, SMALL, "ma")
        for item in score.identities:
            left = middle + (item.identity - people / 2) * bar
            if item.lost:
                write(draw, (left + bar / 2, zero - 8), "lost" if bar > 34 else "x", RED, SMALL, "ms")
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
            write(draw, (self.left - 8, y), f"{value:.2f}", FAINT, SMALL, "rm")
        for value in np.linspace(*self.x_range, x_ticks) if x_ticks else ():
            x, _ = self.at(value, self.y_range[0])
            draw.line((x, self.top, x, self.bottom), fill=(76, 78, 84))
            write(draw, (x, self.bottom + 6), f"{value:+.1f}" if value else "0", FAINT, SMALL, "ma")
        write(draw, (self.left + self.width / 2, self.bottom + 28), x_title, FAINT, SMALL, "ma")


def _draw_people(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int], mean_title: str = "") -> None:
    """A legend in one line, as many people as there is room for."""
    x, y = corner
    if mean_title:
        dot(draw, (x + 8, y + 8), 8, (235, 236, 240))
        write(draw, (x + 24, y), mean_title, FAINT, SMALL)
        x += 40 + round(text_length(mean_title, SMALL))
    for number, person in enumerate(measured.people, start=1):
        name = fitted(person, SMALL, 130)
        if x + 40 + text_length(name, SMALL) > corner[0] + PLOT_WIDTH_PX:
            write(draw, (x, y), "...", FAINT, SMALL)
            return
        dot(draw, (x + 8, y + 8), 6, colour_of(number))
        write(draw, (x + 22, y), name, FAINT, SMALL)
        x += 38 + round(text_length(name, SMALL))


def _draw_matrix(draw: ImageDraw.ImageDraw, measured: Measured, corner: tuple[int, int]) -> None:
    x, y = corner
    rows = mean_likeness(measured.scores)
    many = "" if len(measured.scores) == 1 else f", mean of {len(measured.scores)} images"
    write(draw, (x, y), f"rows: the face taken for; columns: the reference of{many}", FAINT, SMALL)
    top, left = y + 62, x + 150
    for index, person in enumerate(measured.people):
        name = fitted(person, SMALL, CELL_WIDTH_PX - 8)
        write(draw, (left + (index + 0.5) * CELL_WIDTH_PX, top - 8), name, colour_of(index + 1), SMALL, "ms")
        name = fitted(person, SMALL, 140)
        write(draw, (left - 10, top + (index + 0.5) * CELL_HEIGHT_PX), name, colour_of(index + 1), SMALL, "rm")
        for other, value in enumerate(rows[index]):
            cell_x, cell_y = left + other * CELL_WIDTH_PX, top + index * CELL_HEIGHT_PX
            edges = cell_x + 2, cell_y + 2, cell_x + CELL_WIDTH_PX - 3, cell_y + CELL_HEIGHT_PX - 3
            draw_value(draw, edges, value, colour_of(index + 1) if other == index else None)
    draw_scale(draw, x, top + len(rows) * CELL_HEIGHT_PX + 24, "")


def _floor_quarter(value: float) -> float:
    return float(np.floor(value * 4) / 4)
