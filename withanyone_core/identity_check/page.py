"""The report as one HTML file that needs nothing else: people as rows, variants as columns, worst cases with crops."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ..html_page import document, jpeg_uri
from .reading import Unreadable, read_image
from .records import CONDITIONING, DEFINITIONS, SOURCES, Report
from .summary import Row
from .values import NAMES, NOBODY, Checked, Finding, Person

MOST_CASES, MOST_OF_ONE = 60, 6  # crops in the page: of all, and of one person in one variant
TILE_PX, MARGIN = 112, 1.5
COLORS = {
    "kept": "#3f9d5f",
    "drifted": "#c9752f",
    "swapped": "#b8405e",
    "dominated": "#8a4fb0",
    "blended": "#4f74c9",
    "pasted": "#c9a227",
    "lost": "#6b7280",
    "extra person": "#2f8f9d",
    "unclear": "#b9bec7",
}
# How bad a fault is before its odds are looked at: somebody else's face before one's own face copied.
WORST_FIRST = ("lost", "swapped", "dominated", "blended", "drifted", "extra person", "pasted", "unclear")
CSS = """
.bar{display:flex;height:10px;width:220px;border-radius:3px;overflow:hidden;margin:.2rem 0}.bar i{display:block}
.fails{background:#fdeef0}.chip{display:inline-block;border-radius:3px;padding:0 .35rem;color:#fff;margin-right:.3rem}
.cases{display:flex;flex-wrap:wrap;gap:1rem}
.case{width:250px;border:1px solid #d5d9e0;padding:.5rem}
.case img{width:112px;height:112px;object-fit:cover;margin-right:4px}
@media(prefers-color-scheme:dark){.fails{background:#3a2228}.case{border-color:#3a404b}}
"""


def page(report: Report) -> str:
    """The whole page; it reads the images of the cases it shows."""
    return document(
        "Who is in these images?",
        (
            "<h1>Who is in these images?</h1>",
            *_head(report),
            "<h2>People and variants</h2>",
            *_table(report.rows),
            "<h2>Worst cases first</h2>",
            *_cases(report),
            "<h2>How it was decided</h2>",
            *_method(report),
        ),
        CSS,
    )


def worst_cases(checked: Sequence[Checked]) -> list[tuple[Checked, Finding]]:
    """What the page shows: faults and unclear findings, the worst first, no more than MOST_OF_ONE of a person."""
    ranked = sorted(
        ((each, finding) for each in checked for finding in each.findings if finding.name != "kept"),
        key=lambda case: (WORST_FIRST.index(case[1].name), -(case[1].odds or (0.0, 0.0))[0], case[0].image.label),
    )
    shown: list[tuple[Checked, Finding]] = []
    of_one: dict[tuple[str, str], int] = {}
    for each, finding in ranked:
        key = each.image.variant, finding.person
        of_one[key] = of_one.get(key, 0) + 1
        if of_one[key] <= MOST_OF_ONE:
            shown.append((each, finding))
    return shown[:MOST_CASES]


def _head(report: Report) -> Iterator[str]:
    people, images = len(report.people.people), len(report.checked)
    failed = [row for row in report.rows if not row.passes]
    verdict = "Everybody passes." if not failed else f"{len(failed)} of {len(report.rows)} do not pass."
    yield f"<p><b>{verdict}</b> {images} images, {people} people.</p>"
    if report.unread:
        items = "".join(f"<li>{escape(reason)}</li>" for _, reason in report.unread[:MOST_CASES])
        yield f"<p>{len(report.unread)} could not be checked:</p><ul>{items}</ul>"
    if report.notes:
        yield "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in report.notes) + "</ul>"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    variants = list(dict.fromkeys(row.variant for row in rows))
    people = list(dict.fromkeys(row.person for row in rows))
    cells = {(row.person, row.variant): row for row in rows}
    heads = "".join(f"<th>{escape(variant or 'images')}</th>" for variant in variants)
    yield f"<table><tr><th>person</th>{heads}</tr>"
    for person in sorted(people, key=lambda person: _badness(person, rows), reverse=True):
        line = "".join(_cell(cells.get((person, variant))) for variant in variants)
        yield f"<tr><th>{escape(person)}</th>{line}</tr>"
    yield "</table>"


def _badness(person: str, rows: Sequence[Row]) -> float:
    return max(row.faults[0] for row in rows if row.person == person)


def _cell(row: Row | None) -> str:
    if row is None:
        return "<td>-</td>"
    bar = "".join(
        f'<i style="width:{100 * row.counts[name] / row.images:.2f}%;background:{COLORS[name]}" title="{name}"></i>'
        for name in NAMES
        if name in row.counts
    )
    counts = ", ".join(f"{row.counts[name]} {name}" for name in NAMES if name in row.counts)
    fraction, low, high = row.faults
    lines = [f'<div class="bar">{bar}</div>{counts}', f"faults {fraction:.1%} <small>[{low:.1%}, {high:.1%}]</small>"]
    if row.similarity is not None:
        lines.append(f"similarity {_with_interval(row.similarity.mean, row.similarity.low, row.similarity.high)}")
    lines += [f"<b>worse: {escape(text)}</b>" for text in row.worse]
    return f"<td{'' if row.passes else ' class=fails'}>{'<br>'.join(lines)}</td>"


def _cases(report: Report) -> Iterator[str]:
    cases = worst_cases(report.checked)
    if not cases:
        yield "<p>None.</p>"
        return
    people = {person.name: person for person in report.people.people}
    images: dict[Path, np.ndarray | None] = {}
    yield '<div class="cases">'
    for each, finding in cases:
        yield _case(each, finding, people, images)
    yield "</div>"
    total = sum(finding.name != "kept" for each in report.checked for finding in each.findings)
    if total > len(cases):
        yield f"<p>{total - len(cases)} more are in report.json.</p>"


def _case(each: Checked, finding: Finding, people: Mapping[str, Person], images: dict[Path, np.ndarray | None]) -> str:
    tiles = [] if finding.box_px is None else [(each.image.path, finding.box_px, "generated")]
    for name in (finding.person, finding.other):
        if name in people:
            place = finding.photo if name == finding.person and finding.photo is not None else 0
            photo = people[name].photos[place]
            tiles.append((photo.path, photo.box_px, name))
    shown = "".join(_tile(*tile, images) for tile in tiles)
    numbers = ""
    if finding.similarity is not None:
        numbers = f"<br><small>similarity {_with_interval(finding.similarity, finding.low, finding.high)}</small>"
    who = "" if finding.person == NOBODY else f"{escape(finding.person)}: "
    color = COLORS[finding.name]
    return (
        f'<div class="case">{shown}<div>{who}<span class="chip" style="background:{color}">{escape(finding.text)}'
        f"</span>{numbers}<br><small>{escape(each.image.label)} {escape(finding.detail)}</small></div></div>"
    )


def _tile(
    path: Path, box_px: tuple[float, float, float, float], title: str, images: dict[Path, np.ndarray | None]
) -> str:
    if path not in images:
        try:
            images[path] = read_image(path)
        except Unreadable:  # it was there when it was checked
            images[path] = None
    image = images[path]
    if image is None:
        return ""
    return f'<img alt="{escape(title)}" title="{escape(title)}" src="{jpeg_uri(face_tile(image, box_px))}">'


def face_tile(image: np.ndarray, box_px: tuple[float, float, float, float]) -> Image.Image:
    """The square around a face, black outside the image, TILE_PX wide."""
    x1, y1, x2, y2 = box_px
    half = max(x2 - x1, y2 - y1, 2.0) * MARGIN / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    cut = Image.fromarray(image).crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return cut.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)


def _method(report: Report) -> Iterator[str]:
    calibration = report.calibration
    middle, low, high = calibration.threshold
    same, other = calibration.measured_on
    models = "".join(f"<li>{escape(name)}: {escape(licence)}</li>" for name, licence in report.recognizer.parts.items())
    yield f"<p>Recognizer: <b>{escape(report.recognizer.name)}</b>. Models and licences:</p><ul>{models}</ul>"
    yield f"<p>{CONDITIONING}</p>"
    yield (
        f"<p>Threshold between the person and a stranger: similarity {_with_interval(middle, low, high)}"
        f", from {same} pairs of photos of one person and {other} of two. "
        + ("" if same else "No person has two photos, so it rests on what is known of the recognizer. ")
        + "Intervals are 95 %.</p>"
    )
    yield "<ul>" + "".join(f"<li><b>{name}</b>: {text}</li>" for name, text in DEFINITIONS.items()) + "</ul>"
    yield f"<p><small>{'; '.join(SOURCES)}</small></p>"


def _with_interval(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:.3f}" + ("" if low is None or high is None else f" <small>[{low:.3f}, {high:.3f}]</small>")
