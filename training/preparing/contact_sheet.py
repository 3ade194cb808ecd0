"""report.html of the prepared photos: every face, and above each person's the risk of copying with its reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image
from torch import Tensor

from withanyone_core.html_page import document, jpeg_uri

from ..cache.entries import UNKNOWN
from .cache_plan import CachePlan
from .copy_risk import CopyRisk, PersonCopyRisk, risk_level
from .naming import Naming

SHOWN_AT_MOST = 400  # faces of one section of the sheet: some 2 MB

_MEANING = {
    "similarity": "how alike the photos' faces are",
    "repeats": "photos that have a near-duplicate",
    "pose": "how little the head turns",
    "expression": "how little the mouth moves",
    "number": "how few photos there are",
}
_HEAD = (
    "<h1>Prepared photos</h1><p>Green: trained on. Blue: kept for validation. Gray: strangers, for reconstruction "
    "only. Red: left out.</p>"
)
_CSS = """
.faces{display:flex;flex-wrap:wrap;gap:10px}
figure{margin:0;width:112px;font-size:11px;overflow-wrap:anywhere}
img{width:96px;height:96px;border:3px solid #2a7;border-radius:4px}
.bar{width:120px;height:8px;background:#8883}.bar i{display:block;height:8px;background:#c9752f}
.no img{border-color:#c33}.held img{border-color:#37c}.unknown img{border-color:#999}
"""


@dataclass(frozen=True)
class _Item:
    """A face of the sheet: where its small image is kept, what is written below, and its colour."""

    thumbs: str
    number: int
    name: str
    words: str
    colour: str


def contact_sheet(naming: Naming, plan: CachePlan, tensors: Mapping[str, Tensor], findings: CopyRisk) -> str:
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
    left_out = [(source, detected, reason) for source, detected, reason in naming.rejected]
    left_out += [(photo.source, photo.detected, reason) for photo, reason in plan.rejected]
    rejected = [_Item(detected.thumbs, 0, source.name, str(reason), "no") for source, detected, reason in left_out]
    sections.append(_figures("Left out", rejected, tensors))
    return document("Prepared photos", [_HEAD, *filter(None, sections)], _CSS)


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


def _faces_of(plan: CachePlan, identity: int) -> list[_Item]:
    found = []
    for face, (photo, number) in zip(plan.faces, plan.numbers, strict=True):
        if face.identity == identity:
            image = plan.images[photo]
            colour = "unknown" if identity == UNKNOWN else "held" if image.held_out else "yes"
            words = ", ".join(face.flags).replace("_", " ")
            found.append(_Item(plan.photos[photo].detected.thumbs, number, image.name, words, colour))
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
        face = Image.fromarray(tensors[item.thumbs][item.number].numpy())
        image = f'<img alt="" src="{jpeg_uri(face)}">'
    note = f"<br>{escape(item.words)}" if item.words else ""
    return f'<figure class="{item.colour}">{image}<figcaption>{escape(item.name)}{note}</figcaption></figure>'
