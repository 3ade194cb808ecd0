"""A report as a list of blocks, and each block as Markdown or HTML: both files say the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from withanyone_core.html_page import jpeg_uri

_CELL_PX = 320  # of an image in a table of the page


@dataclass(frozen=True)
class ImageFile:
    """An image of the run's folder, by its path in there."""

    path: str
    title: str


@dataclass(frozen=True)
class Heading:
    text: str
    depth: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Points:
    lines: tuple[str, ...]


Cell = str | tuple[ImageFile, ...]


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


Block = Heading | Paragraph | Points | Table | ImageFile


def markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(_markdown(block) for block in blocks if block != Points(())) + "\n"


def html(blocks: Sequence[Block], folder: Path) -> Iterator[str]:
    """HTML of each block; the images of `folder` are written into it."""
    for block in blocks:
        match block:
            case Heading(text, depth):
                yield f"<h{depth}>{escape(text)}</h{depth}>"
            case Paragraph(text):
                yield f"<p>{escape(text)}</p>"
            case Points(lines):
                yield "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""
            case Table(head, rows):
                lines = ["".join(f"<th>{escape(text)}</th>" for text in head)]
                lines += ["".join(f"<td>{_html_cell(cell, folder)}</td>" for cell in row) for row in rows]
                yield "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
            case ImageFile():
                yield f"<figure>{_html_image(block, folder)}</figure>"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, depth):
            return f"{'#' * depth} {text}"
        case Paragraph(text):
            return text
        case Points(lines):
            return "\n".join(f"* {line}" for line in lines)
        case Table(head, rows):
            lines = [head, ("---",) * len(head), *rows]
            return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines)
        case ImageFile(path, title):
            return f"![{title}]({path})"


def _markdown_cell(cell: Cell) -> str:
    return cell if isinstance(cell, str) else " ".join(map(_markdown, cell))


def _html_cell(cell: Cell, folder: Path) -> str:
    return escape(cell) if isinstance(cell, str) else " ".join(_html_image(each, folder, _CELL_PX) for each in cell)


def _html_image(shown: ImageFile, folder: Path, most_px: int | None = None) -> str:
    """The image itself, at most `most_px` wide and high; one that is not there any more by its title."""
    path = folder / shown.path
    if not path.is_file():
        return escape(shown.title)
    if path.suffix == ".svg":
        return path.read_text(encoding="utf-8")
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if most_px is not None:
        image.thumbnail((most_px, most_px))
    return f'<img alt="{escape(shown.title)}" title="{escape(shown.title)}" src="{jpeg_uri(image)}">'
