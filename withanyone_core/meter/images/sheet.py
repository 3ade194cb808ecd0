"""What the meter's images are drawn with: colours, sizes, text that fits, and what they share."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...identity_check.values import Checked
from ...metrics.case import JudgeInfo
from ...regions.preview import CANVAS
from ..measuring import Measured
from ..numbers import TRAINED_WITH_WORDS

BACKGROUND, STRIPE, FAINT, RED = CANVAS, (58, 60, 65), (165, 168, 175), (255, 92, 92)
SCALE = ((44, 47, 62), (52, 84, 140), (38, 140, 142), (118, 190, 92), (250, 228, 86))  # cosines 0 to 1 in even steps
MARGIN, LINE_PX, TITLE_PX = 20, 26, 44
LARGE, NORMAL, SMALL = 26, 19, 15
MOST_IMAGES = 40  # in a table; the numbers hold all
IMAGE_PX, PERSON_PX, FACE_PX, LIKE_PX, GAUGE_PX, COUNT_PX = 84, 170, 60, 112, 220, 130
Colour = tuple[int, int, int]


def draw_value(
    draw: ImageDraw.ImageDraw, edges: tuple[int, int, int, int], value: float | None, outline: Colour | None
) -> None:
    """A cell in the colour of its cosine; a dash where there is none."""
    middle = (edges[0] + edges[2]) // 2, (edges[1] + edges[3]) // 2
    if value is None:
        write(draw, middle, "-", FAINT, NORMAL, "mm")
        return
    fill = scale_colour(value)
    draw.rectangle(edges, fill=fill, outline=outline, width=3)
    write(draw, middle, f"{value:.2f}", readable_on(fill), NORMAL, "mm")


def draw_scale(draw: ImageDraw.ImageDraw, x: int, y: int, title: str) -> None:
    """The colours of cosines from 0 to 1."""
    write(draw, (x, y), title, FAINT, SMALL)
    left, width = x + (150 if title else 0), 280
    for step in range(width):
        draw.line((left + step, y, left + step, y + 16), fill=scale_colour(step / (width - 1)))
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        write(draw, (left + value * width, y + 20), f"{value:g}", FAINT, SMALL, "ma")


def footer_lines(measured: Measured) -> list[str]:
    lines = [judge_words(measured.judge)]
    if measured.licences:
        models = "; ".join(f"{name}: {licence}" for name, licence in measured.licences.items())
        lines.append(f"Models and licences: {models}")
    extra = [f"Image {number}" for number, each in enumerate(measured.checked, 1) if _has_extra(each)]
    if extra:
        lines.append(f"Extra person: {', '.join(extra)}")
    hidden = len(measured.scores) - MOST_IMAGES
    if hidden > 0:
        lines.append(f"{hidden} more images are not shown; the numbers hold them all.")
    per_image: dict[str, list[str]] = {}
    for number, score in enumerate(measured.scores, start=1):
        for note in score.notes:
            per_image.setdefault(note, []).append(str(number))
    for note, where in per_image.items():
        everywhere = len(where) == len(measured.scores)
        lines.append(note if everywhere else f"Image {', '.join(where)}: {note}")
    return [*lines, *measured.notes]


def _has_extra(checked: Checked) -> bool:
    return any(finding.name == "extra person" for finding in checked.findings)


def judge_words(judge: JudgeInfo) -> str:
    return f"Judge: {judge.name}" + (f" - {TRAINED_WITH_WORDS}" if judge.trained_with else "")


def scale_colour(value: float) -> Colour:
    """RGB 0 to 255 of a cosine; below 0 as 0, above 1 as 1."""
    place = min(max(value, 0.0), 1.0) * (len(SCALE) - 1)
    step = min(int(place), len(SCALE) - 2)
    red, green, blue = (round(a + (b - a) * (place - step)) for a, b in zip(SCALE[step], SCALE[step + 1], strict=True))
    return red, green, blue


def readable_on(fill: Colour) -> Colour:
    red, green, blue = fill
    return (24, 25, 28) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)


def counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def paste(
    image: Image.Image, draw: ImageDraw.ImageDraw, part: np.ndarray, edges: tuple[int, int, int, int], colour: Colour
) -> None:
    x1, y1, x2, y2 = edges
    small = Image.fromarray(np.ascontiguousarray(part)).resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS)
    image.paste(small, (x1, y1))
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=2)


def new_sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), BACKGROUND)
    return image, ImageDraw.Draw(image)


def dot(draw: ImageDraw.ImageDraw, place: tuple[float, float], radius: int, colour: Colour) -> None:
    x, y = place
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=BACKGROUND, width=1)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: Colour | str,
    size: int,
    anchor: str = "la",
) -> None:
    draw.text(place, text, fill=colour, font=ImageFont.load_default(size), anchor=anchor)


def text_length(text: str, size: int) -> float:
    return ImageFont.load_default(size).getlength(text)


def fitted(text: str, size: int, max_width: float) -> str:
    """The text, cut at its end and marked so where it is wider than that."""
    if text_length(text, size) <= max_width:
        return text
    while text and text_length(f"{text}...", size) > max_width:
        text = text[:-1]
    return f"{text}..."


def wrapped(text: str, size: int, max_width: float) -> list[str]:
    """The words of a text in lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_length(longer, size) > max_width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [fitted(line, size, max_width) for line in lines]
