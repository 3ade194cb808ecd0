"""The report as JUnit's XML, which every build server shows: a suite a variant, a case a person."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree

from .records import Report
from .summary import Row
from .values import Checked

MOST_LINES = 20  # images named in a failure; report.json has all
NO_VARIANT = "images"


def junit_xml(report: Report) -> str:
    root = ElementTree.Element("testsuites", name="identity_check")
    for variant in dict.fromkeys(row.variant for row in report.rows):
        rows = [row for row in report.rows if row.variant == variant]
        _add_suite(root, variant or NO_VARIANT, [_case(row, report.checked) for row in rows])
    if report.unread:
        _add_suite(root, "unread", [_error(label, reason) for label, reason in report.unread])
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_suite(root: ElementTree.Element, name: str, cases: Sequence[ElementTree.Element]) -> None:
    counts = {kind: sum(case.find(kind[:-1]) is not None for case in cases) for kind in ("failures", "errors")}
    about = {"name": _clean(name), "tests": str(len(cases)), **{kind: str(n) for kind, n in counts.items()}}
    suite = ElementTree.SubElement(root, "testsuite", about)
    suite.extend(cases)


def _case(row: Row, checked: Sequence[Checked]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_clean(row.variant or NO_VARIANT), name=_clean(row.person))
    if not row.passes:
        fraction, low, high = row.faults
        message = f"{fraction:.1%} of {row.images} images with a fault [{low:.1%}, {high:.1%}]"
        failure = ElementTree.SubElement(case, "failure", message=_clean("; ".join((message, *row.worse))))
        lines = [
            f"{PurePosixPath(each.image.label)}: {finding.text} {finding.detail}".strip()
            for each in checked
            if each.image.variant == row.variant
            for finding in each.findings
            if finding.person == row.person and finding.is_fault
        ]
        hidden = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
        failure.text = _clean("\n".join([*lines[:MOST_LINES], *hidden]))
    return case


def _error(label: str, reason: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname="unread", name=_clean(label))
    ElementTree.SubElement(case, "error", message=_clean(reason))
    return case


def _clean(text: str) -> str:
    """XML has no way to write control characters, which file names may hold."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
