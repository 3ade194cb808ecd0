"""What was made of the photos, to be read before training: report.md, and report.html with every face."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ..cache.cache import Cache
from ..cache.entries import UNKNOWN
from ..cache.shards import write_whole
from .cache_plan import CachePlan
from .contact_sheet import contact_sheet
from .copy_risk import WEIGHTS, CopyRisk, PersonCopyRisk, risk_level
from .folder import Unused
from .naming import Naming
from .negatives import NegativeBank
from .reasons import Reason, by_cause, counted

READABLE, SHEET, NUMBERS = "report.md", "report.html", "doctor.json"


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
    write_whole(folder / SHEET, contact_sheet(naming, plan, cache.tensors, findings).encode())
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
