"""What was made of the photos, to be read before training: report.md, and report.html with every face."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..cache.cache import Cache
from ..cache.entries import UNKNOWN
from ..cache.shards import write_whole
from .cache_plan import CachePlan
from .copy_risk import WEIGHTS, CopyRisk, PersonCopyRisk, risk_level
from .folder import Unused
from .naming import Naming
from .negatives import NegativeBank
from .reasons import Reason, by_cause, counted

READABLE, SHEET, NUMBERS = "report.md", "report.html", "doctor.json"
SHOWN_AT_MOST = 400  # faces of one section of the sheet: some 2 MB

_MEANING = {
    "similarity": "how alike the photos' faces are",
    "repeats": "photos that have a near-duplicate",
    "pose": "how little the head turns",
    "expression": "how little the mouth moves",
    "number": "how few photos there are",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Prepared photos</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5em; background: #fff; color: #222; }}
.faces {{ display: flex; flex-wrap: wrap; gap: 10px; }}
figure {{ margin: 0; width: 112px; font-size: 11px; overflow-wrap: anywhere; }}
img {{ width: 96px; height: 96px; border: 3px solid #2a7; border-radius: 4px; }}
.bar {{ width: 120px; height: 8px; background: #8883; }} .bar i {{ display: block; height: 8px; background: #c9752f; }}
.no img {{ border-color: #c33; }} .held img {{ border-color: #37c; }} .unknown img {{ border-color: #999; }}
</style></head><body>
<h1>Prepared photos</h1>
<p>Green: trained on. Blue: kept for validation. Grey: strangers, who serve reconstruction only. Red: left out.</p>
{sections}
</body></html>
"""


def write_report(
    folder: Path,
    cache: Cache,
    naming: Naming,
    plan: CachePlan,
    bank: NegativeBank,
    findings: CopyRisk,
    left: Sequence[Unused] = (),
) -> Path:
    """Writes report.md, report.html and doctor.json; gives the first.

    left  what lies in the data folder and was not used
    """
    write_whole(folder / NUMBERS, (json.dumps(asdict(findings), indent=2) + "\n").encode())
    write_whole(folder / SHEET, sheet(naming, plan, cache.tensors, findings).encode())
    write_whole(folder / READABLE, markdown(cache, naming, plan, bank, findings, left).encode())
    return folder / READABLE


def markdown(
    cache: Cache, naming: Naming, plan: CachePlan, bank: NegativeBank, findings: CopyRisk, left: Sequence[Unused] = ()
) -> str:
    """The report as text and tables."""
    held = sum(image.held_out for image in cache.images)
    known = sum(face.identity != UNKNOWN for face in cache.faces)
    lines = [
        "# Prepared photos",
        "",
        f"{len(cache.images)} photos ({held} kept for validation), {len(cache.faces)} faces ({known} with names), "
        f"{len(cache.identities)} people, {sum(len(image.crops) for image in cache.images)} crops. Every face: "
        f"[{SHEET}]({SHEET}).",
        "",
        f"Negatives: {bank.summary()}.",
        "",
        *_doctor(findings),
        *_section("Warnings", naming.warnings),
        *_section("Left out", _causes(_rejected(naming, plan), "photo")),
        *_section("Not used", _causes(((each.name, Reason(each.reason)) for each in left), "file")),
        *_section("Faces to check", _flagged(plan)),
        *_section("Made with", [f"{name}: {digest}" for name, digest in cache.files.items()]),
    ]
    return "\n".join(lines).rstrip() + "\n"


@dataclass(frozen=True)
class _Item:
    """A face of the sheet: where its small image is kept, what is written below, and its colour."""

    thumbs: str
    number: int
    name: str
    words: str
    colour: str


def sheet(naming: Naming, plan: CachePlan, tensors: Mapping[str, Tensor], findings: CopyRisk) -> str:
    """The contact sheet: one page with all images in it, and above each person's the risk of copying and its reasons.

    tensors  of the cache, which hold the small images
    """
    risks = {person.person: _risk(person) for person in findings.people}
    sections = [f"<p><b>Risk of copying: {findings.risk:.2f} ({risk_level(findings.risk)})</b></p>"]
    sections += [f"<p>{escape(line)}</p>" for line in findings.advice]
    sections += [
        _figures(person, _faces_of(plan, index), tensors, risks.get(person, ""))
        for index, person in enumerate(plan.identities)
    ]
    sections.append(_figures("Strangers", _faces_of(plan, UNKNOWN), tensors))
    left_out = [(source, look, reason) for source, look, reason in naming.rejected]
    left_out += [(photo.source, photo.look, reason) for photo, reason in plan.rejected]
    rejected = [_Item(look.thumbs, 0, source.name, str(reason), "no") for source, look, reason in left_out]
    sections.append(_figures("Left out", rejected, tensors))
    return _PAGE.format(sections="\n".join(section for section in sections if section))


def _risk(person: PersonCopyRisk) -> str:
    """The risk of copying, each reason with a bar, and what to add."""
    rows = "".join(
        f'<tr><td>{name}<td><div class="bar"><i style="width:{100 * part:.0f}%"></i></div><td>{part:.2f}'
        f"<td>{escape(_MEANING[name])}"
        for name, part in person.parts.items()
    )
    advice = f"<p>Add {escape('; '.join(person.advice))}.</p>" if person.advice else ""
    return (
        f"<p><b>Risk of copying: {person.risk:.2f} ({risk_level(person.risk)})</b>, from {person.photos} photos, "
        f"{person.repeats} of them near-duplicates</p><table>{rows}</table>{advice}"
    )


def _doctor(findings: CopyRisk) -> Iterator[str]:
    yield f"## Risk of copying: {findings.risk:.2f} ({risk_level(findings.risk)})"
    yield ""
    yield (
        "0: varied photos, 1: training can only learn to repeat the reference. A person's risk is "
        + " + ".join(f"{weight:.2f} {name}" for name, weight in WEIGHTS.items())
        + ", each from 0 (harmless) to 1; the risk above is the mean."
    )
    yield ""
    spread = "cosine, 10th to 90th percentile"
    yield f"| person | photos | risk | {' | '.join(WEIGHTS)} | {spread} | left, ahead, right | people in a photo |"
    yield "|" + "---|" * (6 + len(WEIGHTS))
    for person in findings.people:
        yield _row(person)
    yield ""
    for person in findings.people:
        if person.advice:
            yield f"* {person.person}: add {'; '.join(person.advice)}."
    yield from (f"* {line}" for line in findings.advice)
    yield ""


def _row(person: PersonCopyRisk) -> str:
    spread = "-" if person.similarity is None else "{:.2f} ({:.2f} to {:.2f})".format(*person.similarity)
    parts = " | ".join(f"{person.parts[name]:.2f}" for name in WEIGHTS)
    counts = ", ".join(f"{people}: {count}" for people, count in person.head_counts.items())
    turned = ", ".join(map(str, person.turned))
    return f"| {person.person} | {person.photos} | {person.risk:.2f} | {parts} | {spread} | {turned} | {counts} |"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"* {line}" for line in lines), ""] if lines else []


def _causes(reasons: Iterable[tuple[str, Reason]], thing: str) -> list[str]:
    return [f"{counted(names, thing)}: {cause}: {', '.join(names)}" for cause, names in by_cause(reasons)]


def _rejected(naming: Naming, plan: CachePlan) -> Iterator[tuple[str, Reason]]:
    yield from ((source.name, reason) for source, _, reason in naming.rejected)
    yield from ((photo.source.name, reason) for photo, reason in plan.rejected)


def _flagged(plan: CachePlan) -> list[str]:
    found = []
    for face in plan.faces:
        if face.flags and face.identity != UNKNOWN:
            words = ", ".join(face.flags).replace("_", " ")
            found.append(f"{plan.images[face.image].name} ({plan.identities[face.identity]}): {words}")
    return found


def _faces_of(plan: CachePlan, identity: int) -> list[_Item]:
    found = []
    for face, (photo, number) in zip(plan.faces, plan.numbers, strict=True):
        if face.identity == identity:
            image = plan.images[photo]
            colour = "unknown" if identity == UNKNOWN else "held" if image.held_out else "yes"
            words = ", ".join(face.flags).replace("_", " ")
            found.append(_Item(plan.photos[photo].look.thumbs, number, image.name, words, colour))
    return found


def _figures(title: str, items: Sequence[_Item], tensors: Mapping[str, Tensor], above: str = "") -> str:
    if not items:
        return ""
    more = f"<p>and {len(items) - SHOWN_AT_MOST} more</p>" if len(items) > SHOWN_AT_MOST else ""
    figures = "\n".join(_figure(item, tensors) for item in items[:SHOWN_AT_MOST])
    return f'<h2>{escape(title)} ({len(items)})</h2>\n{above}<div class="faces">\n{figures}\n</div>{more}'


def _figure(item: _Item, tensors: Mapping[str, Tensor]) -> str:
    image = ""
    if item.thumbs in tensors:
        encoded = _jpeg(tensors[item.thumbs][item.number].numpy())
        image = f'<img alt="" src="data:image/jpeg;base64,{encoded}">'
    note = f"<br>{escape(item.words)}" if item.words else ""
    return f'<figure class="{item.colour}">{image}<figcaption>{escape(item.name)}{note}</figcaption></figure>'


def _jpeg(image: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()
